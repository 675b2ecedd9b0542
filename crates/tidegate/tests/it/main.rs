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
mod grpc_web;
mod handover;
mod hostile;
mod limits;
mod limits_of_listeners;
mod logs;
mod metadata;
mod native;
mod openapi;
mod overload;
mod program;
mod proxy;
mod proxy_h2;
mod proxy_protocol;
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
mod tunnel;
mod tutorial;
mod unary;
mod uploads;
mod validation;
