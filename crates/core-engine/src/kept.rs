//! Sources over a restart: what the settings say, changed by what clients did since.
//!
//! ```text
//!   settings     connect: true ─────┐
//!   store        connected, with some settings; disconnected; made ──┴─► what is connected at the start
//! ```
//! What a client did counts more, because it came later. What no longer fits the settings is passed over and logged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::settings::{SOURCES_MAX, Settings, SourceDefinition, is_source_id};
use crate::source::SourceSettings;
use crate::store::Loaded;

/// What a client did to a source, as the store has it.
#[derive(Serialize, Deserialize)]
struct Written {
    r#type: String,
    /// Whether it is none of the settings.
    made: bool,
    /// With what it was connected; disconnected without it.
    config: Option<BTreeMap<String, String>>,
}

/// A source at the start.
#[derive(Debug)]
pub(crate) struct KeptSource {
    pub(crate) definition: SourceDefinition,
    /// With what it is to be connected; not at all without it.
    pub(crate) config: Option<BTreeMap<String, String>>,
    /// Whether connecting needs no network.
    pub(crate) is_local: bool,
}

/// All sources at the start.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) sources: BTreeMap<String, KeptSource>,
}

impl Kept {
    /// Joins the settings with what the store had.
    pub(crate) fn read(loaded: &Loaded, settings: &Settings) -> Self {
        let mut sources: BTreeMap<String, KeptSource> = settings
            .sources
            .iter()
            .map(|(id, definition)| {
                let config = definition.connect.then(BTreeMap::new);
                (id.clone(), kept(definition.clone(), config))
            })
            .collect();
        for (id, json) in &loaded.sources {
            let Ok(written) = serde_json::from_str::<Written>(json) else {
                tracing::warn!(source_id = id, "the source in the store cannot be read");
                continue;
            };
            let room = sources.len() < SOURCES_MAX;
            match sources.get_mut(id) {
                Some(source) if source.definition.settings.type_name() == written.r#type => {
                    source.config = written.config;
                }
                None if written.made && room && is_source_id(id) => {
                    let Some(settings) = SourceSettings::of_type(&written.r#type) else { continue };
                    let definition = SourceDefinition { settings, connect: false, made: true };
                    sources.insert(id.clone(), kept(definition, written.config));
                }
                _ => tracing::info!(source_id = id, "the source in the store is not the one of the settings"),
            }
        }
        Self { sources }
    }
}

fn kept(definition: SourceDefinition, config: Option<BTreeMap<String, String>>) -> KeptSource {
    let is_local = definition.settings.is_local();
    KeptSource { definition, config, is_local }
}

/// What is to be stored: connected with `config`, or disconnected.
pub(crate) fn written(definition: &SourceDefinition, config: Option<&BTreeMap<String, String>>) -> Option<String> {
    let written =
        Written { r#type: definition.settings.type_name().to_owned(), made: definition.made, config: config.cloned() };
    serde_json::to_string(&written).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[(&str, &str)]) -> Vec<String> {
        let sources = texts.iter().map(|(id, json)| ((*id).to_owned(), (*json).to_owned())).collect();
        let kept = Kept::read(&Loaded { sources, ..Loaded::default() }, &Settings::default());
        let shown = |(id, source): (&String, &KeptSource)| {
            let settings = source.definition.settings.type_name();
            format!("{id} {settings} made {} {:?}", source.definition.made, source.config)
        };
        kept.sources.iter().map(shown).collect()
    }

    #[test]
    fn what_clients_did_counts_more_than_the_settings() {
        assert_eq!(read(&[]), ["replay replay made false None", "simulator simulator made false Some({})"]);
        let simulator = SourceDefinition { settings: SourceSettings::simulator(), connect: true, made: false };
        let gone = written(&simulator, None).unwrap();
        let config = BTreeMap::from([("seed".to_owned(), "7".to_owned())]);
        let own = written(&SourceDefinition { made: true, ..simulator }, Some(&config)).unwrap();
        assert_eq!(
            read(&[("simulator", &gone), ("own", &own), ("BAD ID", &own), ("broken", "{")]),
            [
                "own simulator made true Some({\"seed\": \"7\"})",
                "replay replay made false None",
                "simulator simulator made false None",
            ]
        );
    }

    #[test]
    fn a_source_that_became_another_is_left_as_the_settings_say() {
        let own = r#"{"type":"simulator","made":false,"config":{}}"#;
        assert_eq!(read(&[("replay", own)])[0], "replay replay made false None");
    }
}
