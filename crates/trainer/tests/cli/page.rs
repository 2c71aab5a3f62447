//! The page of `trainer report`, as HTML and in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::skip::skip;
use crate::support::{Bench, failure};

const SWEEP: &str = r#"
question = "Which <method>?"
base = "small.toml"
out = "runs"
[set]
train.eval_every = 40
[[study]]
name = "m"
axes = [
    { keys = ["seed", "data.synthetic.seed"], values = [1, 2] },
    { key = "embedding.compression", values = [100, 2000] },
    { cases = [
        { name = "hash", set = { embedding.method = "hash" } },
        { name = "qr", set = { embedding.method = "qr" } },
        { name = "plus", set = { embedding.method = "cafe_plus" } },
        { name = "cafe", set = { embedding.method = "cafe" } },
        { name = "frequency", set = { embedding.method = "cafe", embedding.cafe.importance = "frequency" } },
    ] },
]
[[study]]
name = "full"
set = { embedding.method = "full", embedding.compression = 1 }
axes = [{ keys = ["seed", "data.synthetic.seed"], values = [1, 2] }]
"#;

/// A bench with a finished sweep.
fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("sweep.toml"), SWEEP).expect("written");
    bench.stdout(&["sweep", "sweep.toml", "--jobs", "2"]);
    bench
}

fn page(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.path(name)).expect("written")
}

/// The page without what shows times.
pub(crate) fn lasting(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(start) = rest.find("<figure") {
        let end = start + rest[start..].find("</figure>").expect("it ends");
        let is_timing = rest[start..].starts_with("<figure data-timing>");
        out.push_str(if is_timing { &rest[..start] } else { &rest[..end] });
        rest = &rest[end..];
    }
    out + rest
}

#[test]
fn page_shows_all_runs_and_not_applicable() {
    let bench = bench();
    let said = bench.stdout(&["report", "runs", "--out", "r.html"]);
    assert!(said.starts_with("20 runs, ") && said.ends_with(" kB, written to r.html\n"), "{said}");
    let page = page(&bench, "r.html");
    assert!(page.contains("<h1>Which &lt;method&gt;?</h1>"), "what users write is escaped");
    assert!(page.contains("full table's AUC"), "there is an answer");
    assert!(
        page.contains("n/a: quotient-remainder needs CR")
            && page.contains("20 runs finished, 2 not applicable.")
    );
    for title in [
        "Test AUC by compression ratio",
        "Test log-loss by bytes",
        "Training AUC, 1/2,000 of the bytes",
        "Test AUC during training, 1/100 of the bytes",
        "Training throughput",
        "Test AUC by importance",
        "Lookups that hot rows serve",
        "Turnover of the hot set",
        "Scores in the sketch",
        "Hot rows by field",
    ] {
        assert!(page.contains(&format!("<figcaption>{title}")), "no picture `{title}`");
    }
    assert!(
        !page.contains("http://") && !page.contains("https://") && !page.contains("<script"),
        "it needs nothing else"
    );
    // Each figure of a report is in the table of all runs.
    for run in ["m-1-100-hash", "m-2-2000-cafe", "full-1"] {
        let (report, _) = bench.result(&format!("runs/{run}"));
        let auc = format!("<td>{:.5}</td>", report["test_auc"].as_f64().expect("a number"));
        let row =
            page.find(&format!("<td>{run}</td>")).map(|at| &page[at..at + 400]).expect("a row");
        assert!(row.contains(&auc), "{run}: {row}");
    }
    assert!(page.contains("<dt>seeds</dt><dd>1, 2</dd>"));
    assert!(page.contains(&expected_answer(&bench)), "{}", expected_answer(&bench));
    assert_eq!(
        bench.stdout(&["report", "runs", "--out", "-"]),
        page,
        "the same runs make the same page"
    );

    // Repeated runs differ in times only, and an unfinished run is shown with its progress.
    fs::remove_dir_all(bench.path("runs/m-1-100-hash")).expect("it is there");
    bench.stdout(&["sweep", "sweep.toml"]);
    bench.stdout(&["report", "runs", "--out", "again.html"]);
    assert_eq!(lasting(&self::page(&bench, "again.html")), lasting(&page));
    fs::remove_file(bench.path("runs/m-1-2000-hash/report.json")).expect("it is there");
    let unfinished = bench.stdout(&["report", "runs", "--out", "-"]);
    assert!(
        unfinished.contains("19 runs finished, 1 unfinished, 2 not applicable.")
            && unfinished.contains("6,000 rows so far")
    );
    assert!(unfinished.contains("Not all have run with the same seeds yet"));
}

/// The first sentence of the answer and the second, from the reports.
fn expected_answer(bench: &Bench) -> String {
    let auc =
        |run: &str| bench.result(&format!("runs/{run}")).0["test_auc"].as_f64().expect("a number");
    let of = |name: &str| [1, 2].map(|seed| auc(&format!("m-{seed}-2000-{name}")));
    let mean = |aucs: [f64; 2]| f64::midpoint(aucs[0], aucs[1]);
    let full = mean([1, 2].map(|seed| auc(&format!("full-{seed}"))));
    let labels = [
        ("hash", "hash"),
        ("plus", "cafe_plus"),
        ("cafe", "cafe"),
        ("frequency", "cafe, importance frequency"),
    ];
    let mut ranking = labels.map(|(name, label)| (label, of(name)));
    ranking.sort_by(|a, b| mean(b.1).total_cmp(&mean(a.1)));
    let (best, of_best) = ranking[0];
    assert_ne!(best, "hash", "the sentence would be another");
    let level =
        ranking[1..].iter().filter(|(_, aucs)| (0..2).any(|seed| aucs[seed] >= of_best[seed]));
    let level: Vec<_> = level.map(|(label, _)| *label).collect();
    let second = match level[..] {
        [] => format!("{best} is ahead of every other on each of 2 seeds."),
        _ => format!("On some of 2 seeds {best} is not ahead of: {}.", level.join("; ")),
    };
    let kept = |aucs: [f64; 2]| 100.0 * mean(aucs) / full;
    format!(
        "At 1/2,000 of its bytes, {best} keeps {:.1} % of the full table's AUC ({:.4} of {full:.4}); hash keeps {:.1} %. \
         {second}",
        kept(of_best),
        mean(of_best),
        kept(of("hash"))
    )
}

#[test]
fn damaged_files_are_reported_with_place() {
    let bench = Bench::new();
    bench.train("runs/a", &[]);
    let broken = |name: &str, content: &str| {
        let path = bench.path("runs/a").join(name);
        let before = fs::read(&path).expect("it is there");
        fs::write(&path, content).expect("written");
        let failure = failure(&bench.trainer(&["report", "runs", "--out", "r.html"]));
        fs::write(&path, before).expect("written");
        failure.1
    };
    assert!(broken("report.json", "{").starts_with("error: runs/a/report.json: damaged"));
    assert!(
        broken("metrics.jsonl", "{\"rows\": 1}\nx\n")
            .starts_with("error: runs/a/metrics.jsonl:2: damaged")
    );
    assert!(broken("config.toml", "=").starts_with("error: runs/a/config.toml: damaged"));
    fs::write(bench.path("runs/sketch.json"), "[]").expect("written");
    let message = failure(&bench.trainer(&["report", "runs"])).1;
    assert!(message.starts_with("error: runs/sketch.json: damaged"), "{message}");
    assert!(!bench.path("r.html").exists());
    let (code, message) = failure(&bench.trainer(&["report", "nowhere"]));
    assert_eq!(
        (code, message.starts_with("error: nowhere: cannot be read")),
        (74, true),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn watched_page_reloads_until_stopped() {
    let bench = Bench::new();
    fs::create_dir(bench.path("runs")).expect("made");
    let mut watch = bench
        .command(&["report", "runs", "--out", "r.html", "--watch=1"])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let wait_for = |text: &str| {
        let since = Instant::now();
        while !fs::read_to_string(bench.path("r.html")).is_ok_and(|page| page.contains(text)) {
            assert!(since.elapsed() < Duration::from_secs(120), "no `{text}`");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("0 runs finished.");
    bench.train("runs/a", &[]);
    wait_for("1 runs finished.");
    assert!(page(&bench, "r.html").contains("http-equiv=\"refresh\" content=\"1\""));
    let stopped =
        Command::new("kill").args(["-INT", &watch.id().to_string()]).status().expect("kill");
    assert!(stopped.success() && watch.wait().expect("its end").success());
    assert!(!page(&bench, "r.html").contains("refresh"));
}

/// Tells what a browser makes of the page.
const PROBE: &str = r##"<script>
addEventListener("load", () => {
  const inside = (mark, svg) => {
    const m = mark.getBoundingClientRect(), s = svg.getBoundingClientRect();
    return m.width > 0 && m.height > 0 && m.left >= s.left - 1 && m.right <= s.right + 1
      && m.top >= s.top - 1 && m.bottom <= s.bottom + 1;
  };
  const figures = [...document.querySelectorAll("figure")].map((figure) => {
    const svg = figure.querySelector("svg"), marks = [...svg.querySelectorAll(".m")];
    return { title: figure.querySelector("figcaption").textContent, marks: marks.length,
      drawn: marks.filter((mark) => inside(mark, svg)).length, rows: figure.querySelectorAll("tbody tr").length };
  });
  const links = [...document.querySelectorAll("a")].map((a) => a.getAttribute("href"));
  const dead = links.filter((it) => it.startsWith("#") ? !document.getElementById(it.slice(1)) : !it.startsWith("data:text/csv"));
  const csv = links.filter((it) => it.startsWith("data:")).map((it) => decodeURIComponent(it.split(",").slice(1).join(",")));
  const found = { figures, dead, links: links.length, csv_rows: csv.map((text) => text.trim().split("\n").length - 1),
    width: innerWidth, needs: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor };
  (parent === window ? window : parent).postMessage(JSON.stringify(found), "*");
});
</script>"##;

/// Shows the findings of the page as text.
const LISTEN: &str = r#"<script>addEventListener("message", (event) => {
  const found = document.createElement("pre");
  found.id = "found"; found.textContent = event.data;
  document.body.append(found);
});</script>"#;

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|file| file.is_file())
}

/// The findings of a page, and the messages in its console.
fn browse(browser: &Path, file: &Path, options: &[&str]) -> (Value, Vec<String>) {
    let profile = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--v=0",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(options);
    command
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}", file.display()));
    let output = command.output().expect("the browser starts");
    let (dom, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let found = dom.split("<pre id=\"found\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let found = found.unwrap_or_else(|| panic!("the page tells nothing: {dom:.500}\n{log}"));
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let console = log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    (serde_json::from_str(&found).expect("JSON"), console)
}

#[test]
#[allow(clippy::too_many_lines, reason = "one scenario from start to end")]
fn browser_draws_every_table_row() {
    let Some(browser) = chromium() else {
        return skip("there is no Chromium on the path");
    };
    let bench = bench();
    bench.stdout(&[
        "sketch",
        "--sweep",
        "--features",
        "2000",
        "--observations",
        "20000",
        "--seeds",
        "1",
        "--out",
        "runs/sketch.json",
    ]);
    bench.stdout(&["report", "runs", "--out", "r.html"]);
    let page = page(&bench, "r.html");
    let probed = |name: &str, page: &str| {
        fs::write(bench.path(name), format!("{page}{LISTEN}{PROBE}")).expect("written");
        bench.path(name)
    };

    let (found, console) =
        browse(&browser, &probed("wide.html", &page), &["--window-size=1280,900"]);
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(found["dead"], Value::Array(Vec::new()));
    let figures = found["figures"].as_array().expect("a list");
    assert!(figures.len() >= 22, "{} pictures", figures.len());
    for figure in figures {
        assert!(figure["marks"].as_u64() > Some(0), "{figure}");
        assert!(
            figure["marks"] == figure["rows"] && figure["marks"] == figure["drawn"],
            "{figure}"
        );
    }
    // Each table's CSV has the same rows; the last table is that of all runs.
    let csv = found["csv_rows"].as_array().expect("a list");
    assert!(
        csv.iter().zip(figures).all(|(rows, figure)| *rows == figure["rows"])
            && csv.len() == figures.len() + 1
    );
    let light = &found["background"];

    // A phone, in the dark: nothing is wider than the screen.
    probed("narrow.html", &page);
    let frame = format!(
        "<iframe src=\"narrow.html\" style=\"width: 390px; height: 800px; border: 0\"></iframe>{LISTEN}"
    );
    fs::write(bench.path("phone.html"), frame).expect("written");
    let (found, console) =
        browse(&browser, &bench.path("phone.html"), &["--blink-settings=preferredColorScheme=0"]);
    assert_eq!(console, Vec::<String>::new());
    assert!(
        found["width"] == 390 && found["needs"].as_u64() <= Some(390),
        "{} wide",
        found["needs"]
    );
    assert_ne!(found["background"], *light);
    assert!(
        found["figures"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|figure| figure["drawn"] == figure["rows"])
    );

    // Slips would be seen: a mark too few, a link to nowhere, a message in the console.
    let at = page.find("<circle class=\"m\"").expect("a mark");
    let slip = format!("{}{}", &page[..at], page[at..].replacen("class=\"m\"", "class=\"n\"", 1));
    let slip = slip + "<a href=\"#nowhere\">x</a><script>console.error(\"slip\")</script>";
    let (found, console) = browse(&browser, &probed("slip.html", &slip), &[]);
    assert_eq!((console.len(), found["dead"].as_array().map(Vec::len)), (1, Some(1)));
    assert!(
        found["figures"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|figure| figure["marks"] != figure["rows"])
    );
}
