//! `[embedding.cafe]` and `[embedding.cafe_plus]` to the settings of the embeddings.

use cafe_core::{
    CafePlusSettings, CafeSettings, Medium, PaperData, RowFormat, UnifiedSettings, VictimPolicy,
};

use crate::config::budget::{budget_of, embedding_seed, row_format, split_budget};
use crate::config::dialect::schema;
use crate::config::{
    CafePlusTable, CafeTable, Cold, Config, EmbeddingConfig, HotRows, HotRule, Importance, Method,
    Signs, Sketches, SlotLayout, UnifiedTable, Victim,
};

/// The settings of CAFE that a configuration comes to; `None` for another method, and where nothing
/// says the ratio.
#[must_use]
pub fn cafe_settings(config: &Config) -> Option<CafeSettings> {
    let embedding = &config.embedding;
    let (features, dim) = (schema(config).ok()?.features, config.model.dim);
    let budget = budget_of(embedding)?;
    let rest = split_budget(config, &features, budget).ok()?.map_or(budget, |(_, rest)| rest);
    let ratio = rest.compression(&features, dim);
    let paper = paper(&config.data.format, ratio);
    let is_cafe = embedding.method == Method::Cafe;
    is_cafe.then(|| settings(embedding, paper, row_format(config), embedding_seed(config)))
}

/// The settings of CAFE as a complete `[embedding.cafe]` table, with nothing left to a preset.
#[must_use]
pub fn cafe_in_full(config: &Config) -> Option<CafeTable> {
    cafe_settings(config).map(|settings| in_full(&config.embedding.cafe, &settings))
}

/// The paper's settings for the data and the ratio.
pub(crate) fn paper(data_format: &str, ratio: f64) -> CafeSettings {
    let data = match data_format {
        "avazu" => PaperData::Avazu,
        "kdd12" => PaperData::Kdd12,
        _ => PaperData::Criteo,
    };
    CafeSettings::paper_on(data, ratio)
}

/// The paper's settings, where the configuration says nothing else.
pub(crate) fn settings(
    embedding: &EmbeddingConfig,
    paper: CafeSettings,
    format: RowFormat,
    seed: u64,
) -> CafeSettings {
    let table = &embedding.cafe;
    let preset = if table.rule == Some(HotRule::Quota) { paper.under_quota() } else { paper };
    CafeSettings {
        shared_share: table.shared_share.unwrap_or(preset.shared_share),
        threshold: table.threshold.unwrap_or(preset.threshold),
        rule: rule(table, preset.rule),
        slots: table.slots.unwrap_or(preset.slots),
        layout: layout(table, preset.layout),
        sketches: table.sketches.map_or(preset.sketches, |sketches| match sketches {
            Sketches::One => cafe_core::Sketches::One,
            Sketches::PerField => cafe_core::Sketches::PerField,
        }),
        victim: table.victim.map_or(preset.victim, victim),
        importance: table.importance.map_or(preset.importance, importance),
        decay_factor: match table.decay_factor {
            None => preset.decay_factor,
            Some(1.0) => None,
            factor => factor,
        },
        decay_every: table.decay_every.or(preset.decay_every),
        hot: table.hot.map_or(preset.hot, |hot| match hot {
            HotRows::Exclusive => cafe_core::HotRows::Exclusive,
            HotRows::Residual => cafe_core::HotRows::Residual,
        }),
        write_back: match table.write_back {
            None => preset.write_back,
            Some(0.0) => None,
            share => share,
        },
        cold: match table.cold {
            None => preset.cold,
            Some(Cold::PerField) => cafe_core::Cold::PerField,
            Some(Cold::Unified) => cafe_core::Cold::Unified(unified_settings(embedding.unified)),
            Some(Cold::Coded) => cafe_core::Cold::Unified(UnifiedSettings::CODED),
        },
        medium: table.multi_level.then(|| medium(table)),
        format,
        seed,
    }
}

/// Inverse of [`settings`]: the resolved settings as an `[embedding.cafe]` table.
pub(crate) fn in_full(table: &CafeTable, settings: &CafeSettings) -> CafeTable {
    let is_compact = settings.layout != cafe_core::SlotLayout::Full;
    CafeTable {
        sizing: table.sizing,
        shared_share: Some(settings.shared_share),
        threshold: Some(settings.threshold),
        rule: Some(match settings.rule {
            cafe_core::HotRule::Threshold => HotRule::Threshold,
            cafe_core::HotRule::Quota { .. } => HotRule::Quota,
        }),
        hysteresis: match settings.rule {
            cafe_core::HotRule::Threshold => None,
            cafe_core::HotRule::Quota { hysteresis } => Some(hysteresis),
        },
        slots: Some(settings.slots),
        slot_layout: Some(if is_compact { SlotLayout::Compact } else { SlotLayout::Full }),
        rows_per_bucket: is_compact.then(|| settings.layout.rows_per_bucket()),
        sketches: Some(match settings.sketches {
            cafe_core::Sketches::One => Sketches::One,
            cafe_core::Sketches::PerField => Sketches::PerField,
        }),
        victim: Some(match settings.victim {
            VictimPolicy::Lightest => Victim::Lightest,
            VictimPolicy::LightestCold => Victim::LightestCold,
            VictimPolicy::LastSlot => Victim::LastSlot,
            VictimPolicy::ByChance => Victim::ByChance,
        }),
        importance: Some(match settings.importance {
            cafe_core::Importance::GradientNorm => Importance::GradientNorm,
            cafe_core::Importance::Frequency => Importance::Frequency,
        }),
        decay_factor: Some(settings.decay_factor.unwrap_or(1.0)),
        decay_every: settings.decay_every,
        hot: Some(match settings.hot {
            cafe_core::HotRows::Exclusive => HotRows::Exclusive,
            cafe_core::HotRows::Residual => HotRows::Residual,
        }),
        write_back: Some(settings.write_back.unwrap_or(0.0)),
        cold: Some(match settings.cold {
            cafe_core::Cold::PerField => Cold::PerField,
            cafe_core::Cold::Unified(UnifiedSettings::CODED) => Cold::Coded,
            cafe_core::Cold::Unified(_) => Cold::Unified,
        }),
        multi_level: settings.medium.is_some(),
        medium_threshold_ratio: settings.medium.map(|medium| medium.threshold_ratio),
        medium_share: settings.medium.map(|medium| medium.second_share),
    }
}

/// The paper's settings of CAFE+, where the configuration says nothing else.
pub(crate) fn plus_settings(
    table: &CafePlusTable,
    (paper, ratio): (&CafeSettings, f64),
    format: RowFormat,
    seed: u64,
) -> CafePlusSettings {
    let preset =
        CafePlusSettings { shared_share: paper.shared_share, ..CafePlusSettings::paper(ratio) };
    let CafePlusTable { shared_share, filter_share, slots, importance: measure, growth } =
        table.clone();
    CafePlusSettings {
        shared_share: shared_share.unwrap_or(preset.shared_share),
        filter_share: filter_share.unwrap_or(preset.filter_share),
        slots: slots.unwrap_or(preset.slots),
        importance: measure.map_or(preset.importance, importance),
        growth: growth.unwrap_or(preset.growth),
        format,
        seed,
        ..preset
    }
}

pub(crate) fn unified_settings(table: UnifiedTable) -> UnifiedSettings {
    let UnifiedTable { hashes, signs, field_rows } = table;
    let signs = match signs {
        Signs::None => cafe_core::Signs::None,
        Signs::Row => cafe_core::Signs::Row,
        Signs::Coordinate => cafe_core::Signs::Coordinate,
    };
    UnifiedSettings { n_hashes: hashes, signs, field_rows }
}

fn rule(table: &CafeTable, preset: cafe_core::HotRule) -> cafe_core::HotRule {
    /// Enough to keep two of equal weight from taking turns.
    const HYSTERESIS: f32 = 1.25;
    let preset_hysteresis = match preset {
        cafe_core::HotRule::Quota { hysteresis } => hysteresis,
        cafe_core::HotRule::Threshold => HYSTERESIS,
    };
    let hysteresis = table.hysteresis.unwrap_or(preset_hysteresis);
    let is_quota =
        table.rule.map_or(preset != cafe_core::HotRule::Threshold, |rule| rule == HotRule::Quota);
    if is_quota { cafe_core::HotRule::Quota { hysteresis } } else { cafe_core::HotRule::Threshold }
}

fn layout(table: &CafeTable, preset: cafe_core::SlotLayout) -> cafe_core::SlotLayout {
    let rows_per_bucket = table.rows_per_bucket.unwrap_or(preset.rows_per_bucket());
    let is_full = table
        .slot_layout
        .map_or(preset == cafe_core::SlotLayout::Full, |layout| layout == SlotLayout::Full);
    if is_full {
        cafe_core::SlotLayout::Full
    } else {
        cafe_core::SlotLayout::Compact { rows_per_bucket }
    }
}

fn victim(victim: Victim) -> VictimPolicy {
    match victim {
        Victim::Lightest => VictimPolicy::Lightest,
        Victim::LightestCold => VictimPolicy::LightestCold,
        Victim::LastSlot => VictimPolicy::LastSlot,
        Victim::ByChance => VictimPolicy::ByChance,
    }
}

fn importance(importance: Importance) -> cafe_core::Importance {
    match importance {
        Importance::GradientNorm => cafe_core::Importance::GradientNorm,
        Importance::Frequency => cafe_core::Importance::Frequency,
    }
}

fn medium(table: &CafeTable) -> Medium {
    let preset = Medium::default();
    Medium {
        threshold_ratio: table.medium_threshold_ratio.unwrap_or(preset.threshold_ratio),
        second_share: table.medium_share.unwrap_or(preset.second_share),
    }
}
