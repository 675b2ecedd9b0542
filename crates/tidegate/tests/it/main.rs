//! The gateway from end to end: real sockets, scripted backends and clients. One module per feature; no module depends
//! on another's order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking, as the tests do")]

mod admin;
mod auth;
mod backends;
mod check;
mod contract;
mod conversions;
mod cors;
mod deadlines;
mod descriptors;
mod drain;
mod endings;
mod envelopes;
mod errors;
mod examples;
mod explain;
mod handover;
mod hostile;
mod limits;
mod logs;
mod metadata;
mod openapi;
mod program;
mod proxy;
mod refusals;
mod reload;
mod routing;
mod service_manager;
mod shop_front;
mod streams;
mod survival;
mod tokens;
mod traces;
mod trading;
mod trading_failures;
mod tutorial;
mod unary;
mod uploads;
mod validation;
