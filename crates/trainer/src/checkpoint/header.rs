//! The header of `state.safetensors`: 8 bytes of length, then JSON with type, shape and place of
//! every tensor, padded to a multiple of 8 with spaces. Written by the safetensors crate, but read
//! here, because the crate would not notice a duplicate name; a header that agrees with a checked
//! manifest needs no further check.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::{Dtype as StoredDtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::error::{Damage, Section};
use super::{Dtype, Tensor};

/// The length at the beginning is a `u64`; also the alignment of the data.
const LENGTH_BYTES: usize = 8;

impl Dtype {
    fn stored(self) -> StoredDtype {
        match self {
            Self::F32 => StoredDtype::F32,
            Self::U16 => StoredDtype::U16,
            Self::I8 => StoredDtype::I8,
            Self::U8 => StoredDtype::U8,
            Self::U32 => StoredDtype::U32,
            Self::U64 => StoredDtype::U64,
        }
    }
}

/// The tensors in the order in which they are stored: the widest elements first, so that all are
/// aligned.
pub(super) fn stored_order(tensors: &BTreeMap<String, Tensor>) -> Vec<(&str, &Tensor)> {
    let mut order: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    order.sort_by_key(|(_, tensor)| Reverse(tensor.dtype.stored()));
    order
}

/// The header, with its length, of tensors stored one after another in this order.
pub(super) fn encode(order: &[(&str, &Tensor)]) -> Result<Vec<u8>, Damage> {
    let mut begin = 0;
    let mut infos = Vec::with_capacity(order.len());
    for (name, tensor) in order {
        let end = begin + tensor.bytes.len();
        let info = TensorInfo {
            dtype: tensor.dtype.stored(),
            shape: tensor.shape.clone(),
            data_offsets: (begin, end),
        };
        infos.push(((*name).to_owned(), info));
        begin = end;
    }
    let json = Metadata::new(None, infos)
        .map_err(|error| error.to_string())
        .and_then(|metadata| serde_json::to_vec(&metadata).map_err(|error| error.to_string()))
        .map_err(|why| Damage::invalid(Section::Header, why))?;
    let n_bytes = json.len().next_multiple_of(LENGTH_BYTES);
    let mut header = Vec::with_capacity(LENGTH_BYTES + n_bytes);
    header.extend((n_bytes as u64).to_le_bytes());
    header.extend(json);
    header.resize(LENGTH_BYTES + n_bytes, b' ');
    Ok(header)
}

/// A tensor as described by the header or the manifest; `begin` and `end` are byte offsets in the
/// file.
#[derive(Debug, PartialEq)]
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// Checks that the header agrees with `places`, which are those of the manifest.
pub(super) fn check<'a>(
    header: &[u8],
    places: impl Iterator<Item = Place<'a>>,
) -> Result<(), Damage> {
    let invalid = |why: String| Damage::invalid(Section::Header, why);
    let (length, json) =
        header.split_first_chunk().ok_or_else(|| invalid("it has no length".to_owned()))?;
    let (expected, got) = (json.len() as u64, u64::from_le_bytes(*length));
    if got != expected {
        return Err(invalid(format!("its length is given as {got} bytes, expected {expected}")));
    }
    let Entries(entries) =
        serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
    let expected: BTreeMap<_, _> = places.map(|place| (place.name, place)).collect();
    if entries.len() != expected.len() {
        return Err(invalid(format!(
            "it has {} tensors, the manifest has {}",
            entries.len(),
            expected.len()
        )));
    }
    for (name, info) in &entries {
        let place = expected.get(name.as_str());
        let place = place.ok_or_else(|| {
            invalid(format!("tensor `{}` is not in the manifest", name.escape_debug()))
        })?;
        let offset = |in_data: usize| (in_data as u64).checked_add(header.len() as u64);
        let range = (offset(info.data_offsets.0), offset(info.data_offsets.1));
        let is_same = info.dtype == place.dtype.stored() && info.shape == place.shape;
        if !is_same || range != (Some(place.begin), Some(place.end)) {
            return Err(invalid(format!(
                "its description of tensor `{name}` differs from the manifest's"
            )));
        }
    }
    Ok(())
}

/// The entries of the header; a duplicate name is an error.
struct Entries(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = BTreeMap<String, TensorInfo>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a tensor for every name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, info)) = map.next_entry::<String, TensorInfo>()? {
                    if let Some(twice) = entries.insert(name.clone(), info).map(|_| name) {
                        return Err(A::Error::custom(format!("tensor `{twice}` comes twice")));
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}
