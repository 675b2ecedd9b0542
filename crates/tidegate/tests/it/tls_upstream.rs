//! TLS towards backends: whom it is spoken with, who the gateway shows itself to be, and that nothing goes without it.

use tempfile::TempDir;
use tidegate_testkit::tls::{Authority, Front};
use tidegate_testkit::web::ok;
use tidegate_testkit::{Gateway, Peer, Script, Web, get, shop};

/// What the service is called by clients here, with what its endpoint's scheme and keys have to do with TLS.
struct Service {
    scheme: &'static str,
    keys: &'static str,
    target: &'static str,
    body: &'static str,
    /// What both sides agree to.
    protocol: &'static str,
}

const SERVICES: [Service; 2] = [
    Service {
        scheme: "grpcs",
        keys: ", descriptors: shop.pb",
        target: "/v1/orders/7",
        body: shop::ORDER_JSON,
        protocol: "h2",
    },
    Service { scheme: "https", keys: "", target: "/web", body: "hello", protocol: "http/1.1" },
];

/// The two backends; which of them an answer comes from its body says.
struct Backends {
    peer: Peer,
    web: Web,
}

impl Backends {
    async fn start() -> Self {
        let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
        Self { peer, web: Web::start(|_| ok("hello")).await }
    }

    /// TLS in front of the one that `service` speaks to, with its certificate in `folder`.
    async fn front(&self, service: &Service, folder: &TempDir, clients: Option<&Authority>) -> Front {
        let to = if service.protocol == "h2" { self.peer.address() } else { self.web.address() };
        Front::start(folder.path(), to, &[service.protocol], clients).await
    }

    fn asked(&self) -> usize {
        self.peer.calls() + self.web.heard().len()
    }
}

fn gateway(service: &Service, front: &Front, tls: &str, folder: TempDir) -> Gateway {
    let action = if service.protocol == "h2" { ", grpc: OrderService/GetOrder" } else { "" };
    let path = if service.protocol == "h2" { "/v1/orders/{id}" } else { "/web" };
    let Service { scheme, keys, .. } = service;
    Gateway::start_in(
        folder,
        &format!(
            "services:\n  it: {{ address: \"{scheme}://{}\"{keys}, tls: {{ {tls} }}, retry: null }}\n\
             routes: [{{ name: it, path: \"{path}\", method: GET, service: it{action} }}]\n",
            front.address(),
        ),
    )
}

#[tokio::test]
async fn a_backend_is_verified_by_its_authority_and_the_name_that_it_is_to_have() {
    for service in &SERVICES {
        let (backends, folder) = (Backends::start().await, TempDir::new().unwrap());
        let front = backends.front(service, &folder, None).await;
        let gateway = gateway(service, &front, "ca: tls.crt, server_name: localhost", folder);
        for answer in gateway.send_both(&get(service.target)).await {
            assert_eq!((answer.status, answer.text()), (200, service.body), "{}", service.scheme);
        }
        let agreed = front.agreed();
        assert!(!agreed.is_empty() && agreed.iter().all(|one| one == service.protocol), "{agreed:?}");
        assert_eq!((backends.asked(), front.in_clear_text()), (2, 0));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_backend_that_wants_a_certificate_is_shown_the_one_of_its_service() {
    for service in &SERVICES {
        let (backends, folder, authority) = (Backends::start().await, TempDir::new().unwrap(), Authority::new());
        authority.client(&["gateway.test"]).write(folder.path());
        let front = backends.front(service, &folder, Some(&authority)).await;
        let tls = "ca: tls.crt, server_name: localhost, cert: client.crt, key: client.key";
        let gateway = gateway(service, &front, tls, folder);
        for answer in gateway.send_both(&get(service.target)).await {
            assert_eq!((answer.status, answer.text()), (200, service.body), "{}", service.scheme);
        }
        assert_eq!((backends.asked(), front.in_clear_text()), (2, 0));
        // What it shows nothing to, or somebody else's, takes nothing of it.
        let folder = gateway.stop().await;
        for tls in [
            "ca: tls.crt, server_name: localhost",
            "ca: tls.crt, server_name: localhost, cert: client.crt, key: client.key",
        ] {
            let others = TempDir::new().unwrap();
            std::fs::copy(folder.path().join("tls.crt"), others.path().join("tls.crt")).unwrap();
            Authority::new().client(&["gateway.test"]).write(others.path());
            let gateway = self::gateway(service, &front, tls, others);
            for answer in gateway.send_both(&get(service.target)).await {
                assert!(matches!(answer.status, 502 | 503), "{} {}", service.scheme, answer.text());
            }
            gateway.stop().await;
        }
        assert_eq!((backends.asked(), front.in_clear_text()), (2, 0));
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_backend_of_another_name_or_authority() {
    for service in &SERVICES {
        for tls in ["ca: tls.crt, server_name: other.test", "ca: tls.crt", "ca: other.crt, server_name: localhost"] {
            let (backends, folder) = (Backends::start().await, TempDir::new().unwrap());
            let front = backends.front(service, &folder, None).await;
            std::fs::write(folder.path().join("other.crt"), Authority::new().pem()).unwrap();
            let gateway = gateway(service, &front, tls, folder);
            for answer in gateway.send_both(&get(service.target)).await {
                let reason = answer.reason();
                assert_eq!((answer.status, reason.as_str()), (503, "connect_failed"), "{} {tls}", service.scheme);
            }
            assert!(front.connections() > 0, "it was tried");
            assert_eq!((front.agreed().len(), backends.asked(), front.in_clear_text()), (0, 0, 0), "{tls}");
            gateway.stop().await;
        }
    }
}
