//! Envelopes: names, and which parts there are.

use super::{File, Names, Resolver};
use crate::diag::Code;
use crate::valid::Envelope;

impl Resolver<'_> {
    pub(super) fn envelopes(&mut self, files: &[File]) -> (Vec<Envelope>, Names) {
        let mut names = Names::new();
        let mut envelopes = Vec::new();
        names.incomplete = files.iter().any(|file| file.raw.envelopes.is_invalid());
        for (name, value) in files.iter().filter_map(|file| file.raw.envelopes.value()).flat_map(|table| &table.0) {
            if !self.claim("envelope", name, &mut names) {
                continue;
            }
            let Some(raw) = value.value() else { continue };
            if raw.success.is_missing() && raw.error.is_missing() {
                let help = "give it \"success\", \"error\" or both";
                self.error_with(Code::InvalidEnvelope, &name.place, "an envelope without a shape", help);
            }
            if raw.success.is_invalid() || raw.error.is_invalid() {
                continue;
            }
            names.set_index(&name.value.0, envelopes.len());
            envelopes.push(Envelope {
                name: name.value.0.clone(),
                place: name.place.clone(),
                success: raw.success.value().map(|shape| shape.0.clone()),
                error: raw.error.value().map(|shape| shape.0.clone()),
            });
        }
        (envelopes, names)
    }
}
