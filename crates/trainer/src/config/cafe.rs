//! `[embedding.cafe]` and `[embedding.cafe_plus]` to the settings of the embeddings.

use cafe_core::Sizing;
use cafe_core::methods::{
    CafePlusSettings, CafeSettings, Decay, Hysteresis, Middle, OutOfRange, PaperData, Promotion,
    Shared,
};
use cafe_core::table::{Hashes, UnifiedSettings};

use crate::config::budget::{budget_of, embedding_seed, row_format, split_budget};
use crate::config::dialect::schema;
use crate::config::{
    CafePlusTable, CafeTable, Cold, Config, EmbeddingConfig, HotRule, Method, UnifiedTable,
};

/// The settings of CAFE that a configuration comes to; `None` for another method, and where nothing
/// says the ratio.
#[must_use]
pub fn cafe_settings(config: &Config) -> Option<CafeSettings> {
    if config.embedding.method != Method::Cafe {
        return None;
    }
    let (features, dim) = (schema(config).ok()?.features, config.model.dim);
    let (budget, format) = (budget_of(&config.embedding)?, row_format(config));
    let seed = embedding_seed(config);
    let sizing = Sizing { features: &features, dim, budget, format, seed };
    let rest = split_budget(config, &sizing).ok()?.map_or(budget, |(_, rest)| rest);
    let ratio = Sizing { budget: rest, ..sizing }.compression();
    settings(&config.embedding, paper(&config.data.format, ratio)).ok()
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
///
/// # Errors
/// If a setting is out of range, which a checked configuration's is not.
pub(crate) fn settings(
    embedding: &EmbeddingConfig,
    paper: CafeSettings,
) -> Result<CafeSettings, OutOfRange> {
    let table = &embedding.cafe;
    let preset = if table.rule == Some(HotRule::Quota) { paper.under_quota() } else { paper };
    Ok(CafeSettings {
        shared_share: table.shared_share.unwrap_or(preset.shared_share),
        promotion: promotion(table, preset.promotion)?,
        slots: table.slots.unwrap_or(preset.slots),
        victim: table.victim.unwrap_or(preset.victim),
        importance: table.importance.unwrap_or(preset.importance),
        decay: decay(table, preset.decay)?,
        shared: match table.cold {
            None | Some(Cold::PerField) => {
                Shared::PerField { middle: table.multi_level.then(|| middle(table)) }
            }
            Some(Cold::Unified) => Shared::Table(unified_settings(embedding.unified)),
            Some(Cold::Coded) => Shared::Table(UnifiedSettings::CODED),
        },
    })
}

/// Inverse of [`settings`]: the resolved settings as an `[embedding.cafe]` table.
pub(crate) fn in_full(table: &CafeTable, settings: &CafeSettings) -> CafeTable {
    let (rule, hysteresis) = match settings.promotion {
        Promotion::Threshold(_) => (HotRule::Threshold, None),
        Promotion::Quota { hysteresis, .. } => (HotRule::Quota, Some(hysteresis.get())),
    };
    let middle = settings.shared.middle();
    CafeTable {
        sizing: table.sizing,
        shared_share: Some(settings.shared_share),
        threshold: Some(settings.promotion.threshold()),
        rule: Some(rule),
        hysteresis,
        slots: Some(settings.slots),
        victim: Some(settings.victim),
        importance: Some(settings.importance),
        decay_factor: Some(settings.decay.map_or(1.0, Decay::factor)),
        // Without decay the key has no effect, and stays as it was given.
        decay_every: settings.decay.map_or(table.decay_every, Decay::interval),
        cold: Some(match settings.shared {
            Shared::PerField { .. } => Cold::PerField,
            Shared::Table(UnifiedSettings::CODED) => Cold::Coded,
            Shared::Table(_) => Cold::Unified,
        }),
        multi_level: middle.is_some(),
        medium_threshold_ratio: middle.map(|middle| middle.threshold_ratio),
        medium_share: middle.map(|middle| middle.second_share),
        ..CafeTable::default()
    }
}

/// The paper's settings of CAFE+, where the configuration says nothing else.
pub(crate) fn plus_settings(
    table: &CafePlusTable,
    paper: &CafeSettings,
    ratio: f64,
) -> CafePlusSettings {
    let preset =
        CafePlusSettings { shared_share: paper.shared_share, ..CafePlusSettings::paper(ratio) };
    let CafePlusTable { shared_share, filter_share, slots, importance, growth } = table.clone();
    CafePlusSettings {
        shared_share: shared_share.unwrap_or(preset.shared_share),
        filter_share: filter_share.unwrap_or(preset.filter_share),
        slots: slots.unwrap_or(preset.slots),
        importance: importance.unwrap_or(preset.importance),
        growth: growth.unwrap_or(preset.growth),
        ..preset
    }
}

pub(crate) fn unified_settings(table: UnifiedTable) -> UnifiedSettings {
    let UnifiedTable { hashes, signs, field_rows } = table;
    let hashes = if hashes == 1 { Hashes::One } else { Hashes::Two };
    UnifiedSettings { hashes, signs, field_rows }
}

fn promotion(table: &CafeTable, preset: Promotion) -> Result<Promotion, OutOfRange> {
    let least = table.threshold.unwrap_or(preset.threshold());
    let is_quota = table.rule.map_or(preset.is_quota(), |rule| rule == HotRule::Quota);
    if !is_quota {
        return Ok(Promotion::Threshold(least));
    }
    let hysteresis = match (table.hysteresis, preset) {
        (Some(factor), _) => Hysteresis::try_from(factor)?,
        (None, Promotion::Quota { hysteresis, .. }) => hysteresis,
        (None, Promotion::Threshold(_)) => Hysteresis::default(),
    };
    Ok(Promotion::Quota { least, hysteresis })
}

fn decay(table: &CafeTable, preset: Option<Decay>) -> Result<Option<Decay>, OutOfRange> {
    let factor = table.decay_factor.or(preset.map(Decay::factor));
    // A factor of 1 never decays.
    let Some(factor) = factor.filter(|&factor| factor != 1.0) else { return Ok(None) };
    let interval = table.decay_every.or(preset.and_then(Decay::interval));
    Decay::new(factor, interval).map(Some)
}

fn middle(table: &CafeTable) -> Middle {
    let preset = Middle::default();
    Middle {
        threshold_ratio: table.medium_threshold_ratio.unwrap_or(preset.threshold_ratio),
        second_share: table.medium_share.unwrap_or(preset.second_share),
    }
}
