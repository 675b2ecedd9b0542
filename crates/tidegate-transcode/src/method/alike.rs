//! Whether two plans, each with the descriptors of its own backend, give clients the same interface.

use std::collections::HashSet;

use super::MethodPlan;
use crate::plan::{FieldPlan, MsgId};
use crate::schema::Schema;

impl MethodPlan {
    /// What a client would see change if `other` answered instead of this plan; `None` if that is nothing but fields that
    /// only one of them has, which a client of either has to bear anyway.
    ///
    /// Looks at each message that the method can reach once.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        let (one, another) = (&self.method, &other.method);
        if one.full_name() != another.full_name() {
            return Some(format!("{} is another method than {}", another.full_name(), one.full_name()));
        }
        let streams = |plan: &Self| (plan.method.is_client_streaming(), plan.method.is_server_streaming());
        if streams(self) != streams(other) {
            return Some(format!("{} streams for one of them alone", one.full_name()));
        }
        let mut seen = HashSet::new();
        let mut pairs = vec![(one.input(), another.input()), (one.output(), another.output())];
        while let Some((one, another)) = pairs.pop() {
            if !seen.insert((one, another)) {
                continue;
            }
            if let Some(difference) = between((&self.schema, one), (&other.schema, another), &mut pairs) {
                return Some(difference);
            }
        }
        None
    }
}

/// What two messages differ in; those of their fields are left in `pairs`.
fn between(
    (one_schema, one): (&Schema, MsgId),
    (other_schema, other): (&Schema, MsgId),
    pairs: &mut Vec<(MsgId, MsgId)>,
) -> Option<String> {
    let (one, other) = (one_schema.message(one), other_schema.message(other));
    if one.full_name() != other.full_name() {
        return Some(format!("message {} is {} for the other", one.full_name(), other.full_name()));
    }
    for field in one.fields() {
        let name = one_schema.json_name(field);
        let Some(twin) = other.fields().iter().find(|twin| other_schema.json_name(twin) == name) else { continue };
        if !is_written_alike(field, twin) {
            return Some(format!("field {name} of {} has another type", one.full_name()));
        }
        pairs.extend(field.message().zip(twin.message()));
    }
    None
}

/// The number of a field is each backend's own: JSON does not have it.
fn is_written_alike(one: &FieldPlan, other: &FieldPlan) -> bool {
    let shape = |field: &FieldPlan| (field.kind(), field.cardinality(), field.wkt());
    shape(one) == shape(other)
}
