//! Wallets over gRPC.

use std::sync::Arc;

use protos::demo::wallet::v1 as pb;
use protos::demo::wallet::v1::wallet_service_server::WalletService;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::input::{caller, timestamp, token, window};
use crate::backends::Backends;
use crate::clock::now;
use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::TransactionId;
use crate::wallet::{Transaction, TransactionKind, Transfer};

pub(super) struct WalletApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl WalletService for WalletApi {
    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let user_id = caller(&metadata)?;
        let balances = self.0.wallets.read(|wallets| wallets.balances(&user_id, &request.currency))?;
        let balance =
            |(currency, amount): (String, rust_decimal::Decimal)| pb::Balance { currency, amount: amount.to_string() };
        Ok(Response::new(pb::GetBalanceResponse { user_id, balances: balances.into_iter().map(balance).collect() }))
    }

    async fn deposit(&self, request: Request<pb::DepositRequest>) -> Result<Response<pb::DepositResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let pb::DepositRequest { currency, amount, reference } = request;
        let booked = self.transfer(&metadata, TransactionKind::Deposit, currency, &amount, reference).await?;
        Ok(Response::new(pb::DepositResponse { transaction: Some(message(&booked)) }))
    }

    async fn withdraw(&self, request: Request<pb::WithdrawRequest>) -> Result<Response<pb::WithdrawResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let pb::WithdrawRequest { currency, amount, reference } = request;
        let booked = self.transfer(&metadata, TransactionKind::Withdrawal, currency, &amount, reference).await?;
        Ok(Response::new(pb::WithdrawResponse { transaction: Some(message(&booked)) }))
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let user = caller(&metadata)?;
        let window = window::<TransactionId>(request.page_size, &request.page_token)?;
        let (transactions, next) = self.0.wallets.read(|wallets| {
            let page = window.page(wallets.history(&user, window.after), |transaction| transaction.id);
            (page.items.into_iter().map(message).collect(), page.next)
        });
        Ok(Response::new(pb::ListTransactionsResponse { transactions, next_page_token: token(next) }))
    }
}

impl WalletApi {
    async fn transfer(
        &self,
        metadata: &MetadataMap,
        kind: TransactionKind,
        currency: String,
        amount: &str,
        reference: String,
    ) -> Result<Transaction, Fault> {
        let user = caller(metadata)?;
        let mut fields = Fields::default();
        let amount = fields.decimal("amount", amount);
        fields.done()?;
        let transfer = Transfer { kind, currency, amount, reference };
        self.0.wallets.change(|wallets, batch| wallets.transfer(&user, transfer, now(), batch)).await
    }
}

fn message(transaction: &Transaction) -> pb::Transaction {
    let kind = match transaction.kind {
        TransactionKind::Deposit => pb::TransactionType::Deposit,
        TransactionKind::Withdrawal => pb::TransactionType::Withdrawal,
    };
    pb::Transaction {
        id: transaction.id.to_string(),
        r#type: kind.into(),
        currency: transaction.currency.clone(),
        amount: transaction.amount.to_string(),
        balance: transaction.balance.to_string(),
        reference: transaction.reference.clone(),
        created_at: timestamp(transaction.created_at),
    }
}
