//! Sockets that were bound by somebody else.

use std::net::TcpListener;

use super::*;

fn at(name: &str, address: &str) -> Settings {
    Settings { name: name.into(), address: address.parse().unwrap(), ..settings(&BOTH) }
}

fn bound(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

/// Sockets with what they were passed as: a name, and the address in the configuration of a gateway.
fn inherited(sockets: &[(&TcpListener, &str, Option<&str>)]) -> Inherited {
    let mut inherited = Inherited::default();
    for (socket, name, configured) in sockets {
        let configured = configured.map(|configured| configured.parse().unwrap());
        inherited.add((*name).to_owned(), configured, socket.try_clone().unwrap().into()).unwrap();
    }
    inherited
}

fn ports(inherited: &Inherited, settings: &[Settings]) -> Vec<Vec<u16>> {
    let shares = inherited.share_out(settings).unwrap();
    shares.iter().map(|share| share.iter().map(|socket| socket.local_addr().unwrap().port()).collect()).collect()
}

#[test]
fn sockets_go_to_the_listener_of_their_name_or_their_address() {
    let (a, b, wild) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"), bound("[::]:0"));
    let port = |socket: &TcpListener| socket.local_addr().unwrap().port();
    let (a_port, b_port, wild_port) = (port(&a), port(&b), port(&wild));
    let a_address = format!("127.0.0.1:{a_port}");
    // A service manager: the name is enough, and another name is none.
    let passed = inherited(&[(&a, "one", None), (&b, "one", None), (&wild, "tidegate.socket", None)]);
    let settings = [at("one", "0.0.0.0:80"), at("two", &format!("0.0.0.0:{wild_port}")), at("three", "127.0.0.1:0")];
    assert_eq!(ports(&passed, &settings), [vec![a_port, b_port], vec![wild_port], vec![]]);
    // A gateway: its name with the same address, port 0 included; else the address.
    let passed = inherited(&[(&a, "one", Some("127.0.0.1:0")), (&b, "two", Some("127.0.0.1:0"))]);
    assert_eq!(ports(&passed, &[at("one", "127.0.0.1:0"), at("two", "127.0.0.2:0")]), [vec![a_port], vec![]]);
    assert_eq!(ports(&passed, &[at("one", "127.0.0.1:1"), at("new", &a_address)]), [vec![], vec![a_port]]);
    assert_eq!(ports(&passed, &[]), Vec::<Vec<u16>>::new());
}

#[tokio::test]
async fn connections_that_waited_before_the_start_are_served_by_any_number_of_workers() {
    for workers in [1, 2, 3] {
        let sockets = accept::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 2, false).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let waiting: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let passed = inherited(&[(&sockets[0], "test", None), (&sockets[1], "test", None)]);
        drop(sockets);
        let options = BindOptions { workers, inherited: passed, ..BindOptions::default() };
        let mut listeners = Listeners::bind(vec![settings(&BOTH)], &options).unwrap();
        assert_eq!(listeners.addresses()[0].1, address);
        let control = listeners.control();
        let scripted = Arc::new(Scripted::default());
        let ids = (0..u16::try_from(workers).unwrap()).map(WorkerId::new);
        let parts: Vec<_> = ids.map(|id| listeners.take(id).unwrap()).collect();
        let run: Vec<_> = parts.into_iter().map(|part| tokio::spawn(part.run(Arc::clone(&scripted)))).collect();
        drop(options);
        for stream in waiting {
            stream.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from_std(stream).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            assert!(reply.ends_with("hello"), "{workers} workers: {reply}");
        }
        assert!(control.plan(vec![settings(&BOTH)]).unwrap().changes().is_empty(), "as good as bound");
        control.drain();
        for run in run {
            run.await.unwrap().unwrap();
        }
        assert!(TcpStream::connect(address).await.is_err(), "no copy is left open");
    }
}
