//! Any bytes as a configuration with overrides: checked or refused, and never a panic; what is
//! taken reads back the same, and can be planned.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trainer::config::Config;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    // A zero byte ends the file; then come overrides, each with one after it.
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let overrides: Vec<_> = parts.map(str::to_owned).collect();
    match Config::parse(file, Path::new("a.toml"), &overrides) {
        Err(error) => {
            let message = error.to_string();
            assert!(
                !message.is_empty() && message.lines().count() <= 60 + input.len(),
                "{message}"
            );
        }
        Ok(config) => {
            let text = toml::to_string(&config).expect("it serialises");
            let again = Config::parse(&text, Path::new("b.toml"), &[]).expect("it reads back");
            assert_eq!(toml::to_string(&again).expect("it serialises"), text);
            // What it would take is told or refused, whatever the numbers.
            let _ = trainer::commands::plan::plan(&config);
        }
    }
});
