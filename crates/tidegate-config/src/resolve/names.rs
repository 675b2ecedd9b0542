//! Names that must be unique, and references to them.

use std::collections::HashMap;

use super::{Resolver, name_of};
use crate::decode::{Item, did_you_mean};
use crate::diag::{Code, Diagnostic, Place};

/// Names of one kind of things, with the index of what each stands for.
pub(super) struct Names {
    /// `None` as the index: the name is there, but what it stands for was refused.
    by_name: HashMap<String, (Option<usize>, Place)>,
    /// Whether a part could not be read at all: then a name that is not here may still be right.
    pub(super) incomplete: bool,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { by_name: HashMap::new(), incomplete: false }
    }

    pub(super) fn set_index(&mut self, name: &str, index: usize) {
        if let Some((slot, _)) = self.by_name.get_mut(name) {
            *slot = Some(index);
        }
    }

    /// The index of a name, if it is there and was not refused.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).and_then(|(index, _)| *index)
    }
}

impl Resolver<'_> {
    /// Adds a name of a `kind` of things; `false` and an error if it is taken.
    pub(super) fn claim<T: AsRef<str>>(&mut self, kind: &str, name: &Item<T>, names: &mut Names) -> bool {
        let text = name.value.as_ref();
        if let Some((_, earlier)) = names.by_name.get(text) {
            let message = format!("a second {kind} with the name {}", name.shown());
            self.error_with(Code::Duplicate, &name.place, message, format!("first at {}", name_of(earlier)));
            return false;
        }
        names.by_name.insert(text.to_owned(), (None, name.place.clone()));
        true
    }

    /// The index behind a reference, or `None`; an error if no such name exists.
    pub(super) fn refer<T: AsRef<str>>(&mut self, kind: &str, name: &Item<T>, names: &Names) -> Option<usize> {
        let text = name.value.as_ref();
        if let Some((index, _)) = names.by_name.get(text) {
            return *index;
        }
        if names.incomplete {
            return None;
        }
        let mut candidates: Vec<&str> = names.by_name.keys().map(String::as_str).collect();
        // A map has no order of its own, and equally near names must not take turns.
        candidates.sort_unstable();
        let near = did_you_mean(text, candidates).filter(|_| !name.secret);
        let problem =
            Diagnostic::error(Code::UnknownName, format!("there is no {kind} {}", name.shown())).at(&name.place);
        self.problems.push(match near {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None => problem,
        });
        None
    }
}
