//! Wallets: money outside of the exchange, by user and currency.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::{Sequence, TransactionId};
use crate::store::{Batch, Documents, StoreError};

/// Collection of the store.
const WALLETS: &str = "wallets";
/// Wallets at once. One is opened by the first deposit of a user.
const WALLETS_MAX: usize = 10_000;
/// Currencies of a wallet.
const CURRENCIES_MAX: usize = 50;
/// Transactions of a wallet that are remembered; the oldest go first.
const HISTORY_MAX: usize = 200;
/// Decimal places of an amount.
const PLACES: u32 = 8;
/// No balance may reach this, so that sums stay exact.
const BALANCE_MAX: i64 = 1_000_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TransactionKind {
    Deposit,
    Withdrawal,
}

/// Money that came or went.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    pub(crate) kind: TransactionKind,
    pub(crate) currency: String,
    pub(crate) amount: Decimal,
    /// Of this currency, afterwards.
    pub(crate) balance: Decimal,
    /// The user's own name of it; empty if there is none.
    pub(crate) reference: String,
    pub(crate) created_at: Timestamp,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) kind: TransactionKind,
    pub(crate) currency: String,
    pub(crate) amount: Decimal,
    pub(crate) reference: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wallet {
    user: String,
    balances: BTreeMap<String, Decimal>,
    /// Oldest first.
    history: VecDeque<Transaction>,
}

/// All wallets, by user.
#[derive(Debug)]
pub(crate) struct Wallets {
    wallets: BTreeMap<String, Wallet>,
    ids: Sequence,
}

impl Wallets {
    /// # Errors
    /// Documents that are not ours.
    pub(crate) fn restore(documents: &mut Documents, sequences: &[Sequence]) -> Result<Self, StoreError> {
        let wallets: Vec<Wallet> = documents.take(WALLETS)?;
        let wallets = wallets.into_iter().map(|wallet| (wallet.user.clone(), wallet)).collect();
        Ok(Self { wallets, ids: Sequence::resume(sequences, "transactions") })
    }

    /// The balances of a user; of one currency unless it is empty.
    ///
    /// # Errors
    /// `NotFound` for a currency that the user does not have.
    pub(crate) fn balances(&self, user: &str, currency: &str) -> Result<Vec<(String, Decimal)>, Fault> {
        let balances = self.wallets.get(user).map(|wallet| &wallet.balances).into_iter().flatten();
        let balances: Vec<_> = balances
            .filter(|(known, _)| currency.is_empty() || *known == currency)
            .map(|(known, balance)| (known.clone(), *balance))
            .collect();
        match balances.is_empty() && !currency.is_empty() {
            true => Err(Fault::not_found("balance in", currency)),
            false => Ok(balances),
        }
    }

    /// Books a deposit or a withdrawal.
    ///
    /// # Errors
    /// `Invalid`; `Exists` for a reference; `Refused` without cover or above the largest balance; `Full`.
    pub(crate) fn transfer(
        &mut self,
        user: &str,
        transfer: Transfer,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Transaction, Fault> {
        transfer.check()?;
        let (currency, reference) = (transfer.currency, transfer.reference);
        let known = self.wallets.get(user);
        let is_used = |wallet: &Wallet| wallet.history.iter().any(|known| known.reference == reference);
        if !reference.is_empty() && known.is_some_and(is_used) {
            return Err(Fault::exists("reference", reference));
        }
        let before = known.and_then(|wallet| wallet.balances.get(&currency)).copied().unwrap_or_default();
        let balance = match transfer.kind {
            TransactionKind::Deposit => before + transfer.amount,
            TransactionKind::Withdrawal => before - transfer.amount,
        };
        if balance < Decimal::ZERO {
            let message = format!("the balance is {before} {currency}, which does not cover {}", transfer.amount);
            return Err(Fault::refused("insufficient_funds", message));
        }
        if balance >= Decimal::from(BALANCE_MAX) {
            let message = format!("a balance must be less than {BALANCE_MAX} {currency}");
            return Err(Fault::refused("balance_too_large", message));
        }
        if known.is_none() && self.wallets.len() >= WALLETS_MAX {
            return Err(Fault::Full { what: "wallets", most: WALLETS_MAX });
        }
        let is_new = known.is_none_or(|wallet| !wallet.balances.contains_key(&currency));
        if is_new && known.is_some_and(|wallet| wallet.balances.len() >= CURRENCIES_MAX) {
            return Err(Fault::Full { what: "currencies", most: CURRENCIES_MAX });
        }

        let transaction = Transaction {
            id: TransactionId(self.ids.take(batch)),
            kind: transfer.kind,
            currency: currency.clone(),
            amount: transfer.amount,
            balance,
            reference,
            created_at: now,
        };
        let new = || Wallet { user: user.to_owned(), balances: BTreeMap::new(), history: VecDeque::new() };
        let wallet = self.wallets.entry(user.to_owned()).or_insert_with(new);
        wallet.balances.insert(currency, balance);
        wallet.history.push_back(transaction.clone());
        if wallet.history.len() > HISTORY_MAX {
            wallet.history.pop_front();
        }
        batch.put(WALLETS, user, wallet);
        Ok(transaction)
    }

    /// Newest first, older than `before`.
    pub(crate) fn history(&self, user: &str, before: Option<TransactionId>) -> impl Iterator<Item = &Transaction> {
        let all = self.wallets.get(user).into_iter().flat_map(|wallet| wallet.history.iter().rev());
        all.skip_while(move |transaction| before.is_some_and(|before| transaction.id >= before))
    }
}

impl Transfer {
    fn check(&self) -> Result<(), Fault> {
        let mut fields = Fields::default();
        let is_good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let currency = (3..=8).contains(&self.currency.len()) && self.currency.bytes().all(is_good);
        fields.check(currency, "currency", "must have 3 to 8 capital letters or digits");
        fields.amount("amount", self.amount, PLACES);
        if !self.reference.is_empty() {
            fields.name("reference", &self.reference, 64);
        }
        fields.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(wallets: &mut Wallets, kind: TransactionKind, amount: i64, reference: &str) -> Result<String, String> {
        let transfer = Transfer {
            kind,
            currency: "EUR".to_owned(),
            amount: Decimal::new(amount, 2),
            reference: reference.to_owned(),
        };
        let booked = wallets.transfer("u", transfer, Timestamp::UNIX_EPOCH, &mut Batch::default());
        booked.map(|booked| booked.balance.to_string()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn money_is_neither_made_nor_lost() {
        use TransactionKind::{Deposit, Withdrawal};
        let wallets = &mut Wallets::restore(&mut Documents::default(), &[]).unwrap();
        assert_eq!(transfer(wallets, Deposit, 1_010, "a"), Ok("10.10".to_owned()));
        assert_eq!(transfer(wallets, Deposit, 1_010, "a"), Err("reference a exists already".to_owned()));
        assert_eq!(transfer(wallets, Withdrawal, 10, ""), Ok("10.00".to_owned()));
        assert_eq!(
            transfer(wallets, Withdrawal, 1_001, ""),
            Err("the balance is 10.00 EUR, which does not cover 10.01".to_owned())
        );
        assert_eq!(transfer(wallets, Withdrawal, 1_000, ""), Ok("0.00".to_owned()));
        assert!(transfer(wallets, Withdrawal, 0, "").is_err());
        assert_eq!(wallets.history("u", None).count(), 3);
        for _ in 0..HISTORY_MAX {
            transfer(wallets, Deposit, 1, "").unwrap();
        }
        assert_eq!(wallets.history("u", None).count(), HISTORY_MAX);
    }
}
