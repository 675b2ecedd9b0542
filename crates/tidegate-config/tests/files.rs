//! The real file system: includes, relative paths, limits.

use std::fs;
use std::path::Path;

use tidegate_config::source::{MAX_FILE_BYTES, System};
use tidegate_config::valid::{Action, Descriptors};
use tidegate_config::{Code, load};

#[test]
fn includes_and_paths_begin_at_the_file_that_names_them() {
    // A folder with the characters of a pattern in its name.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a[b]*");
    fs::create_dir_all(root.join("routes.d")).unwrap();
    let main = root.join("tidegate.yaml");
    let text = "version: 1\ninclude: [\"routes.d/*.yaml\"]\nlisteners: [{ name: a, address: \"127.0.0.1:0\" }]\n";
    fs::write(&main, text).unwrap();
    let text = "services: { s: { address: \"${file:host}:1\", descriptors: s.pb } }\n";
    fs::write(root.join("routes.d/2.yaml"), text).unwrap();
    fs::write(root.join("routes.d/host"), "localhost\r\n").unwrap();
    fs::write(root.join("routes.d/1.yaml"), "routes: [{ name: r, path: /r, service: s, grpc: a.B/C }]\n").unwrap();

    let loaded = load(&System, &main).unwrap_or_else(|problems| panic!("{}", problems.to_text()));
    let names: Vec<&str> = loaded.valid.files.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["tidegate.yaml", "1.yaml", "2.yaml"]);
    let service = loaded.valid.services.first().unwrap();
    assert_eq!(service.descriptors, Descriptors::Set(root.join("routes.d/s.pb")));
    assert_eq!(service.endpoints.first().unwrap().text, "localhost:1");
    assert!(matches!(&loaded.valid.routes.first().unwrap().action, Action::Grpc(grpc) if grpc.service == 0));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, expected: &str| {
        let problems = load(&System, &folder.path().join(name)).unwrap_err();
        let [problem] = problems.problems() else { panic!("{}", problems.to_text()) };
        assert_eq!(problem.code, Code::Unreadable);
        assert!(problem.message.ends_with(expected), "{}", problem.message);
    };
    check("missing.yaml", "no such file");
    fs::write(folder.path().join("latin1.yaml"), b"version: 1\n# caf\xe9\n").unwrap();
    check("latin1.yaml", "line 2 is not UTF-8");
    let large = fs::File::create(folder.path().join("large.yaml")).unwrap();
    large.set_len(MAX_FILE_BYTES + 1).unwrap();
    check("large.yaml", "larger than 16 MiB");
}

#[test]
fn five_thousand_routes_load() {
    let mut text = String::from("version: 1\nlisteners: [{ name: a, address: \"127.0.0.1:0\" }]\n");
    text.push_str("services: { s: { address: \"localhost:1\" } }\nroutes:\n");
    for i in 0..5_000 {
        text.push_str(&format!(
            "  - {{ name: r{i}, path: \"/v1/r{i}/{{id}}\", method: GET, service: s, grpc: a.B/C }}\n"
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("f.yaml");
    fs::write(&main, text).unwrap();
    let loaded = load(&System, Path::new(&main)).unwrap_or_else(|problems| panic!("{}", problems.to_text()));
    assert_eq!(loaded.valid.routes.len(), 5_000);
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let before = format!("*a{}", i - 1);
        text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", ")));
    }
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("f.yaml");
    fs::write(&main, text).unwrap();
    let problems = load(&System, &main).unwrap_err();
    let [problem] = problems.problems() else { panic!("{}", problems.to_text()) };
    assert_eq!((problem.code, problem.message.as_str()), (Code::Syntax, "more than 1000000 values in one file"));
}
