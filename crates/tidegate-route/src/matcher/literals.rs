//! The literal children of a node: a sorted list that is scanned while it is short, and hashed when it is not.
//!
//! A binary search over 5,000 siblings takes a dozen comparisons, each of them a cache miss; with the index it is one
//! look-up whatever their number. The hash needs no secret seed: the keys come from the configuration, and a client
//! can only ask.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::NodeId;
use super::search::Meter;

/// Below this a scan is faster than a hash.
const SCAN_UP_TO: usize = 8;

/// Literal children by their text.
#[derive(Debug)]
pub(super) enum Literals {
    Few(Box<[(Box<str>, NodeId)]>),
    Many(HashMap<Box<str>, NodeId, FixedState>),
}

impl Default for Literals {
    fn default() -> Literals {
        Literals::Few(Box::default())
    }
}

impl Literals {
    /// `children` is sorted and has no text twice.
    pub(super) fn new(children: Vec<(Box<str>, NodeId)>) -> Literals {
        if children.len() <= SCAN_UP_TO {
            return Literals::Few(children.into());
        }
        Literals::Many(children.into_iter().collect())
    }

    pub(super) fn find(&self, text: &str, meter: &mut impl Meter) -> Option<NodeId> {
        match self {
            Literals::Few(children) => {
                let found = children.iter().find(|(literal, _)| {
                    meter.step();
                    **literal == *text
                });
                found.map(|&(_, node)| node)
            }
            Literals::Many(children) => {
                meter.step();
                children.get(text).copied()
            }
        }
    }
}
