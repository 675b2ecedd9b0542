//! `admin`, `client_ip`, `readiness` and `health`: how the gateway is watched and steered.

use crate::decode::{Item, Text, closed_enum, raw_struct};
use crate::valid::HealthDetail;

raw_struct! {
    /// The admin API, on a listener and a thread of its own. Without the key there is none; `admin: {}` is enough.
    RawAdmin {
        /// IP address and port. Another address than a loopback one needs a token.
        address: Text = "127.0.0.1:9901",
        /// What requests must carry as `Authorization: Bearer …`; best as `${file:…}` or `${VARIABLE}`. At least 16
        /// characters.
        token: Text,
    }
}

raw_struct! {
    /// How a client's address is found out.
    RawClientIp {
        /// Proxies in front of the gateway, as networks (`10.0.0.0/8`) or addresses. From them alone
        /// `X-Forwarded-For`, or `Forwarded` if that is missing, is believed. A proxy that writes
        /// `Forwarded` alone must remove its clients' `X-Forwarded-For`. Where one has sent `Forwarded`, backends get it
        /// beside `X-Forwarded-For`, made of the same addresses.
        trusted_proxies: Vec<Item<Text>> = "[]",
    }
}

raw_struct! {
    /// Readiness.
    RawReadiness {
        /// What must work beside the gateway itself: `service:NAME` is a service with at least one endpoint that is not
        /// out. Without it a backend that is down does not make the gateway unready.
        require: Vec<Item<Text>>,
    }
}

raw_struct! {
    /// The health path.
    RawHealth {
        /// `full` tells everybody the state of each service, without addresses; `admin` keeps that on the admin
        /// listener and leaves status and version.
        detail: HealthDetail = "full",
    }
}

closed_enum! {
    HealthDetail {
        "full" => Self::Full,
        "admin" => Self::Admin,
    }
}
