//! Checks of what a client sends: all faults at once, each with the name of its field.

use rust_decimal::Decimal;

use crate::fault::{Fault, Violation};

/// Amounts are below this, so that products and sums of them stay exact in a [`Decimal`].
const AMOUNT_MAX: i64 = 1_000_000_000;

/// What is wrong so far.
#[derive(Default, Debug)]
pub(crate) struct Fields(Vec<Violation>);

impl Fields {
    /// Notes a fault.
    pub(crate) fn wrong(&mut self, field: &str, problem: impl Into<String>) {
        self.0.push(Violation { field: field.to_owned(), problem: problem.into() });
    }

    /// Notes a fault unless `holds`.
    pub(crate) fn check(&mut self, holds: bool, field: &str, problem: &str) {
        if !holds {
            self.wrong(field, problem);
        }
    }

    /// A value that must be there; a default value stands in for a missing one until [`Self::done`].
    pub(crate) fn required<T: Default>(&mut self, field: &str, value: Option<T>) -> T {
        if value.is_none() {
            self.wrong(field, "is required");
        }
        value.unwrap_or_default()
    }

    /// A text of `min` to `max` characters without control characters.
    pub(crate) fn text(&mut self, field: &str, text: &str, min: usize, max: usize) {
        let len = text.chars().count();
        if len < min || len > max {
            self.wrong(field, format!("must have {min} to {max} characters"));
        } else if text.chars().any(char::is_control) {
            self.wrong(field, "must not have control characters");
        }
    }

    /// A name of 1 to `max` letters, digits and `-_.:@`.
    pub(crate) fn name(&mut self, field: &str, name: &str, max: usize) {
        if !is_name(name, max) {
            self.wrong(field, format!("must have 1 to {max} letters, digits or any of -_.:@"));
        }
    }

    /// More than zero and below a billion, at most `places` decimal places.
    pub(crate) fn amount(&mut self, field: &str, amount: Decimal, places: u32) {
        if amount <= Decimal::ZERO || amount >= Decimal::from(AMOUNT_MAX) {
            self.wrong(field, "must be more than 0 and less than 1000000000");
        } else if amount.normalize().scale() > places {
            self.wrong(field, format!("must have at most {places} decimal places"));
        }
    }

    /// An amount that is a multiple of `step`.
    pub(crate) fn multiple(&mut self, field: &str, amount: Decimal, step: Decimal) {
        if amount <= Decimal::ZERO || amount >= Decimal::from(AMOUNT_MAX) {
            self.wrong(field, "must be more than 0 and less than 1000000000");
        } else if !(amount % step).is_zero() {
            self.wrong(field, format!("must be a multiple of {step}"));
        }
    }

    /// A decimal number in a message that has it as text. Zero stands in for one that is wrong.
    pub(crate) fn decimal(&mut self, field: &str, text: &str) -> Decimal {
        if text.is_empty() {
            self.wrong(field, "is required");
            return Decimal::ZERO;
        }
        Decimal::from_str_exact(text).unwrap_or_else(|_| {
            self.wrong(field, "must be a decimal number");
            Decimal::ZERO
        })
    }

    /// # Errors
    /// All faults, if there are any.
    pub(crate) fn done(self) -> Result<(), Fault> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Fault::Invalid(self.0)),
        }
    }
}

/// Whether `name` has 1 to `max` characters that need no quoting anywhere.
pub(crate) fn is_name(name: &str, max: usize) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    (1..=max).contains(&name.len()) && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_come_at_once() {
        let mut fields = Fields::default();
        assert_eq!(fields.required::<String>("symbol", None), "");
        fields.text("name", "", 1, 3);
        fields.text("name", "a\nb", 1, 3);
        fields.amount("amount", Decimal::new(-1, 0), 2);
        fields.amount("amount", Decimal::new(1001, 3), 2);
        fields.multiple("price", Decimal::new(101, 2), Decimal::new(5, 2));
        assert_eq!(fields.decimal("cost", "1e"), Decimal::ZERO);
        let told = fields.done().unwrap_err().to_string();
        assert_eq!(
            told,
            "symbol is required; name must have 1 to 3 characters; name must not have control characters; \
             amount must be more than 0 and less than 1000000000; amount must have at most 2 decimal places; \
             price must be a multiple of 0.05; cost must be a decimal number"
        );
    }

    #[test]
    fn numbers_with_many_digits_are_only_wrong() {
        for text in ["999999999.9999999999999999999", "0.0000000000000000000000000001", "79228162514264337593543950335"]
        {
            let mut fields = Fields::default();
            let amount = fields.decimal("a", text);
            fields.multiple("a", amount, Decimal::new(1, 4));
            fields.amount("b", amount, 8);
            assert!(matches!(fields.done(), Err(Fault::Invalid(wrong)) if wrong.len() == 2), "{text}");
        }
    }

    #[test]
    fn what_is_right_is_no_fault() {
        let mut fields = Fields::default();
        fields.text("name", "äöü", 1, 3);
        fields.name("id", "a-1_.:@", 7);
        fields.amount("amount", Decimal::new(1_000, 3), 0);
        fields.multiple("price", Decimal::new(105, 2), Decimal::new(5, 2));
        assert_eq!(fields.decimal("cost", "0.10").to_string(), "0.10");
        assert_eq!(fields.done(), Ok(()));
    }
}
