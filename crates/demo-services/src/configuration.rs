//! Configuration entries of the trading system: JSON values below names, with versions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::{Fault, require_version};
use crate::fields::Fields;
use crate::store::{Batch, Documents, StoreError};

/// Collection of the store.
const CONFIGURATIONS: &str = "configurations";
/// Entries at once.
const ENTRIES_MAX: usize = 1_000;
/// Length of a name.
const KEY_MAX_LEN: usize = 128;
/// A value as JSON without spaces.
const VALUE_MAX_BYTES: usize = 16 * 1024;

/// A value with its name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Counts changes, from 1.
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

/// All entries, by key.
#[derive(Debug)]
pub(crate) struct Configurations(BTreeMap<String, Entry>);

impl Configurations {
    /// # Errors
    /// Documents that are not ours.
    pub(crate) fn restore(documents: &mut Documents) -> Result<Self, StoreError> {
        let entries: Vec<Entry> = documents.take(CONFIGURATIONS)?;
        Ok(Self(entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect()))
    }

    /// # Errors
    /// `Invalid`, `Exists`, `Full`.
    pub(crate) fn create(
        &mut self,
        key: &str,
        value: Value,
        by: &str,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Entry, Fault> {
        let mut fields = Fields::default();
        fields.name("key", key, KEY_MAX_LEN);
        check_value(&mut fields, &value);
        fields.done()?;
        if self.0.contains_key(key) {
            return Err(Fault::exists("configuration", key));
        }
        if self.0.len() >= ENTRIES_MAX {
            return Err(Fault::Full { what: "configurations", most: ENTRIES_MAX });
        }
        let (key, updated_by) = (key.to_owned(), by.to_owned());
        Ok(self.put(Entry { key, value, version: 1, created_at: now, updated_at: now, updated_by }, batch))
    }

    /// # Errors
    /// `NotFound`.
    pub(crate) fn find(&self, key: &str) -> Result<&Entry, Fault> {
        self.0.get(key).ok_or_else(|| Fault::not_found("configuration", key))
    }

    /// # Errors
    /// `Invalid`, `NotFound`; `Stale` if `seen` is not the present version.
    pub(crate) fn update(
        &mut self,
        key: &str,
        value: Value,
        seen: Option<u64>,
        by: &str,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Entry, Fault> {
        let present = self.find(key)?.clone();
        let mut fields = Fields::default();
        check_value(&mut fields, &value);
        fields.done()?;
        require_version("the configuration", seen, present.version)?;
        let version = present.version + 1;
        Ok(self.put(Entry { value, version, updated_at: now, updated_by: by.to_owned(), ..present }, batch))
    }

    /// # Errors
    /// `NotFound`; `Stale` if `seen` is not the present version.
    pub(crate) fn delete(&mut self, key: &str, seen: Option<u64>, batch: &mut Batch) -> Result<(), Fault> {
        require_version("the configuration", seen, self.find(key)?.version)?;
        self.0.remove(key);
        batch.remove(CONFIGURATIONS, key);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, entry: Entry, batch: &mut Batch) -> Entry {
        batch.put(CONFIGURATIONS, &entry.key, &entry);
        self.0.insert(entry.key.clone(), entry.clone());
        entry
    }
}

fn check_value(fields: &mut Fields, value: &Value) {
    let is_small = value.to_string().len() <= VALUE_MAX_BYTES;
    fields.check(is_small, "value", &format!("must have at most {VALUE_MAX_BYTES} bytes"));
}
