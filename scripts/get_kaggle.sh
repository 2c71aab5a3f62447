#!/usr/bin/env bash
# Downloads Criteo Kaggle's train.txt into data/ (4.6 GB to download, 11 GB unpacked).
# Criteo's terms apply: research use, no redistribution; read the archive's license first.
set -euo pipefail
cd "$(dirname "$0")/../data"
url=https://go.criteo.net/criteo-research-kaggle-display-advertising-challenge-dataset.tar.gz
if [ -e train.txt ]; then
    echo "data/train.txt is here already"
    exit 0
fi
echo "fetching $url; a download that broke off goes on where it stopped"
curl --fail --location --continue-at - --output kaggle.tar.gz "$url"
# Under another name until it is known to be complete.
tar --extract --gzip --to-stdout --file kaggle.tar.gz train.txt > train.txt.partial
rows=$(wc -l < train.txt.partial)
if [ "$rows" -ne 45840617 ]; then
    echo "train.txt has $rows rows, expected 45840617: remove data/kaggle.tar.gz and try again" >&2
    exit 1
fi
mv train.txt.partial train.txt
rm kaggle.tar.gz
echo "data/train.txt is complete"
