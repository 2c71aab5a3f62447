//! The embedding methods: everything that the program knows of one by its name. What a method
//! computes is in `cafe-core`; how a configuration becomes its sizes is in [`crate::build`].

use super::named::{Named, serde_by_name};

/// How features become vectors. In the order of [`METHODS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// A row for every feature.
    Full,
    /// One table for all fields, of whose rows each feature has one, read with signs of its own for
    /// each value.
    #[default]
    Coded,
    /// Rows for features that matter, shared rows for the rest, as published.
    Cafe,
    /// CAFE with an admission filter, a threshold that adapts, and forward decay.
    CafePlus,
    /// An oracle: rows for the most frequent features, which a first pass counts.
    Offline,
    /// One table for all fields; a feature is the sum of two of its rows, with a sign each.
    Unified,
    /// Shared rows, chosen by a hash.
    Hash,
    /// Quotient-remainder: the sum of a row for the quotient of a feature's number and one for the
    /// remainder.
    Qr,
    /// Mixed dimensions: shorter rows for fields of more features.
    Mde,
    /// `AdaEmbed`: rows for the features of the largest gradients, nothing for the rest.
    Ada,
}

/// What the program knows of a method.
#[derive(Debug)]
pub struct MethodEntry {
    /// Which.
    pub method: Method,
    /// The name in configurations, reports and pictures.
    pub name: &'static str,
    /// Tables below `[embedding]` that it reads.
    pub sections: &'static [Section],
    /// Whether `compression` or `budget` says what it may occupy.
    pub has_budget: bool,
    /// Whether rows are `i8` with Adagrad's sums in bytes, all counted in the budget, unless the
    /// configuration says otherwise. Others keep what the literature compares.
    pub counts_all_bytes: bool,
}

/// A table below `[embedding]`.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// The setting that makes the method read it; always if there is none.
    pub when: Option<Setting>,
}

/// A key with a value.
#[derive(Debug)]
pub struct Setting {
    /// The whole key.
    pub key: &'static str,
    /// The value, a text.
    pub value: &'static str,
}

const fn section(name: &'static str) -> Section {
    Section { name, when: None }
}

/// A method without tables of its own, within a budget.
const fn plain(method: Method, name: &'static str) -> MethodEntry {
    MethodEntry { method, name, sections: &[], has_budget: true, counts_all_bytes: false }
}

/// Every method, in the order of lists and pictures: what compares first.
pub static METHODS: [MethodEntry; 10] = [
    MethodEntry { has_budget: false, ..plain(Method::Full, "full") },
    MethodEntry {
        sections: &[section("coded")],
        counts_all_bytes: true,
        ..plain(Method::Coded, "coded")
    },
    MethodEntry {
        sections: &[
            section("cafe"),
            Section {
                name: "unified",
                when: Some(Setting { key: "embedding.cafe.cold", value: "unified" }),
            },
        ],
        ..plain(Method::Cafe, "cafe")
    },
    MethodEntry { sections: &[section("cafe_plus")], ..plain(Method::CafePlus, "cafe_plus") },
    MethodEntry { sections: &[section("offline")], ..plain(Method::Offline, "offline") },
    MethodEntry { sections: &[section("unified")], ..plain(Method::Unified, "unified") },
    plain(Method::Hash, "hash"),
    plain(Method::Qr, "qr"),
    plain(Method::Mde, "mde"),
    plain(Method::Ada, "ada"),
];

/// The table is in the order of the enumeration, which [`Method::entry`] relies on.
const _: () = {
    let mut idx = 0;
    while idx < METHODS.len() {
        assert!(METHODS[idx].method as usize == idx);
        idx += 1;
    }
};

impl Method {
    /// Its line of the table.
    #[must_use]
    pub fn entry(self) -> &'static MethodEntry {
        &METHODS[self as usize]
    }

    /// Its place in lists, which is also its colour in pictures.
    #[must_use]
    pub fn rank(self) -> usize {
        self as usize
    }
}

impl Named for Method {
    fn all() -> impl Iterator<Item = Self> {
        METHODS.iter().map(|entry| entry.method)
    }

    fn name(self) -> &'static str {
        self.entry().name
    }
}

serde_by_name!(Method);
