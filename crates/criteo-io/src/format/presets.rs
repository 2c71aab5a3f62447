//! The data sets whose columns and numbers of features are built in. All counts are of whole data
//! sets and only size tables; none limits what a file may hold.

use crate::format::columns::column::Column;
use crate::format::columns::label::Label;
use crate::format::columns::value::Kind;
use crate::format::columns::{Categorical, Columns, Day};

/// Cardinalities of C1 to C26 in Criteo Kaggle, counted in `train.txt`: 33,762,577 in all.
pub(crate) const KAGGLE_FEATURES: [u64; 26] = [
    1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194,
    27, 14_992, 5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
];

/// Cardinalities of C1 to C26 in Criteo Terabyte. Ids are capped at 40 million a field, as in the
/// reference DLRM of `MLPerf`.
pub(crate) const TERABYTE_FEATURES: [u64; 26] = [
    39_884_406, 39_043, 17_289, 7_420, 20_263, 3, 7_120, 1_543, 63, 38_532_951, 2_953_546, 403_346,
    10, 2_208, 11_938, 155, 4, 976, 14, 39_979_771, 25_641_295, 39_664_984, 585_935, 12_972, 108,
    36,
];

/// Avazu's fields, all that follow `click`, and how many values each has in `train`: published
/// counts of the competition's data, 9,449,445 in all, as the CAFE paper has it.
const AVAZU: [(&str, Kind, u64); 22] = [
    ("hour", Kind::Integer, 240),
    ("C1", Kind::Integer, 7),
    ("banner_pos", Kind::Integer, 7),
    ("site_id", Kind::Hex, 4_737),
    ("site_domain", Kind::Hex, 7_745),
    ("site_category", Kind::Hex, 26),
    ("app_id", Kind::Hex, 8_552),
    ("app_domain", Kind::Hex, 559),
    ("app_category", Kind::Hex, 36),
    ("device_id", Kind::Hex, 2_686_408),
    ("device_ip", Kind::Hex, 6_729_486),
    ("device_model", Kind::Hex, 8_251),
    ("device_type", Kind::Integer, 5),
    ("device_conn_type", Kind::Integer, 4),
    ("C14", Kind::Integer, 2_626),
    ("C15", Kind::Integer, 8),
    ("C16", Kind::Integer, 9),
    ("C17", Kind::Integer, 435),
    ("C18", Kind::Integer, 4),
    ("C19", Kind::Integer, 68),
    ("C20", Kind::Integer, 172),
    ("C21", Kind::Integer, 60),
];

/// The columns of KDD12's `training.txt` after the clicks, and how many values each has there.
///
/// The eight long ones are counts that circulate for this file; those of `AdID` and `QueryID` could
/// be checked, the others not. Depth and position are 1 to 3. The number of different impressions
/// is not published as far as we know: it is the difference to the total of the CAFE paper,
/// 54,689,798.
const KDD12: [(&str, u64); 11] = [
    ("Impression", 3_356),
    ("DisplayURL", 26_273),
    ("AdID", 641_707),
    ("AdvertiserID", 14_847),
    ("Depth", 3),
    ("Position", 3),
    ("QueryID", 24_122_076),
    ("KeywordID", 1_188_089),
    ("TitleID", 3_735_796),
    ("DescriptionID", 2_934_101),
    ("UserID", 22_023_547),
];

/// Avazu: a CSV with header. The hour, `YYMMDDHH`, is a field as in the reference implementation,
/// and its first six digits are the day.
pub(crate) fn avazu() -> Columns {
    let day = Day { column: Column::from("hour"), first: None, drop_last: 2 };
    let field = |(name, kind, n_features)| Categorical {
        features: Some(n_features),
        ..Categorical::new(name, kind)
    };
    Columns {
        categorical: AVAZU.map(field).to_vec(),
        ignore: vec![Column::from("id")],
        day: Some(day),
        ..Columns::csv(Label::binary("click"))
    }
}

/// KDD Cup 2012, track 2: `training.txt`, tabs and no header. A row represents several impressions;
/// it is positive if any of them was clicked, and the number is a field as in the reference
/// implementation.
pub(crate) fn kdd12() -> Columns {
    let mut names = vec!["Click"];
    names.extend(KDD12.map(|(name, _)| name));
    let field = |(name, n_features)| Categorical {
        features: Some(n_features),
        ..Categorical::new(name, Kind::Integer)
    };
    Columns {
        categorical: KDD12.map(field).to_vec(),
        ..Columns::tsv(&names, Label::at_least("Click", 1.0))
    }
}
