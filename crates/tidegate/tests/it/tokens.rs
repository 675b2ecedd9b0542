//! `tidegate token` and `tidegate api-key`: made and judged by the real program.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::program::{Output, output};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A folder with the keys of the tests of tokens, and a secret with a line end.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tidegate-jwt/testdata");
    for entry in std::fs::read_dir(keys).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    folder
}

async fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    output(BINARY, folder.path(), arguments, "").await
}

/// The token that `tidegate token mint` prints.
async fn mint(folder: &TempDir, arguments: &[&str]) -> String {
    let output = run(folder, &[&["token", "mint"], arguments].concat()).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout.lines().count(), 1);
    output.stdout.trim_end().to_owned()
}

/// What `tidegate token verify` prints, and its exit code.
async fn verify(folder: &TempDir, token: &str, arguments: &[&str]) -> (i32, Value, String) {
    let output = run(folder, &[&["token", "verify", token], arguments].concat()).await;
    (output.code, serde_json::from_str(&output.stdout).unwrap_or_default(), output.stderr)
}

#[tokio::test]
async fn what_is_minted_is_accepted() {
    let folder = folder();
    let secret = ["--secret-file", "secret"];
    for (alg, private, public) in [
        ("HS256", secret, secret),
        ("HS512", secret, secret),
        ("RS256", ["--key", "rsa.pem"], ["--key", "rsa_public.pem"]),
        ("PS384", ["--key", "rsa_pkcs1.pem"], ["--key", "rsa_certificate.pem"]),
        ("ES256", ["--key", "p256_sec1.pem"], ["--key", "p256_certificate.pem"]),
        ("ES512", ["--key", "p521.pem"], ["--key", "p521_public.pem"]),
        ("EdDSA", ["--key", "ed25519.pem"], ["--key", "ed25519_public.pem"]),
    ] {
        let claims = ["--alg", alg, "--sub", "alice", "--roles", "admin,viewer", "--claim", "level=5", "--kid", "k1"];
        let token = mint(&folder, &[&private[..], &claims].concat()).await;
        let (code, shown, stderr) = verify(&folder, &token, &public).await;
        assert_eq!((code, stderr.as_str(), &shown["accepted"]), (0, "", &json!(true)), "{alg}");
        assert_eq!(shown["header"], json!({"alg": alg, "kid": "k1", "typ": "JWT"}));
        let claims = &shown["claims"];
        assert_eq!((&claims["sub"], &claims["level"]), (&json!("alice"), &json!(5)));
        assert_eq!(claims["roles"], json!(["admin", "viewer"]));
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(life, 3600);
    }
}

#[tokio::test]
async fn a_refused_token_is_shown_with_the_reason() {
    let folder = folder();
    let secret = ["--secret-file", "secret"];
    let ours = ["--issuer", "https://id", "--audience", "orders"];
    let good = mint(&folder, &[&secret[..], &ours].concat()).await;
    let expired = mint(&folder, &[&secret[..], &ours, &["--claim", "exp=1"]].concat()).await;
    let rs256 = mint(&folder, &["--key", "rsa.pem"]).await;
    for (token, arguments, why) in [
        (&good, vec![], None),
        (&good, ours.to_vec(), None),
        (&good, vec!["--audience", "mine,orders"], None),
        (&good, vec!["--typ", "application/jwt"], None),
        (&good, vec!["--issuer", "https://other"], Some("`iss` is not the expected one")),
        (&good, vec!["--audience", "mine"], Some("`aud` has none of the expected ones")),
        (&good, vec!["--typ", "at+jwt"], Some("`typ` is not the expected one")),
        (&good, vec!["--alg", "HS512"], Some("no key may verify this `alg`")),
        (&expired, vec![], Some("the token has expired")),
        (&expired, vec!["--leeway", "1000000h"], None),
        (&rs256, vec![], Some("no key may verify this `alg`")),
    ] {
        let (code, shown, stderr) = verify(&folder, token, &[&secret[..], &arguments].concat()).await;
        assert_eq!(code, i32::from(why.is_some()), "{arguments:?}: {stderr}");
        assert_eq!(shown["why"].as_str(), why, "{arguments:?}");
        assert_eq!(shown["accepted"], json!(why.is_none()));
        assert!(shown["claims"]["exp"].is_u64() && shown["header"]["alg"].is_string());
        assert_eq!(stderr, why.map(|why| format!("error: refused: {why}\n")).unwrap_or_default());
    }
    let (code, shown, _) = verify(&folder, "no.token", &secret).await;
    assert_eq!((code, shown), (1, json!({"accepted": false, "why": "the token has not three parts"})));
}

#[tokio::test]
async fn a_token_comes_from_standard_input_too() {
    let folder = folder();
    let token = mint(&folder, &["--secret-file", "secret"]).await;
    let arguments = ["token", "verify", "-", "--secret-file", "secret"];
    let read = output(BINARY, folder.path(), &arguments, &format!("Bearer {token}\n")).await;
    assert_eq!(read.code, 0, "{}", read.stderr);
    let long = output(BINARY, folder.path(), &arguments, &"a".repeat(20_000)).await;
    assert_eq!((long.code, long.stderr.as_str()), (1, "error: standard input: more than 16384 bytes\n"));
}

#[tokio::test]
async fn keys_come_from_a_key_set() {
    let folder = folder();
    let jwk = json!({"keys": [
        {"kty": "RSA", "kid": "old", "n": "AAAA", "e": "AQAB"},
        {"kty": "oct", "kid": "k1", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"},
    ]});
    std::fs::write(folder.path().join("jwks.json"), jwk.to_string()).unwrap();
    let token = mint(&folder, &["--secret-file", "secret", "--kid", "k1"]).await;
    let (code, shown, stderr) = verify(&folder, &token, &["--jwks", "jwks.json"]).await;
    let note = "note: key \"old\" is left out: the RSA key has 0 bits, 2048 to 8192 are allowed\n";
    assert_eq!((code, stderr.as_str(), &shown["accepted"]), (0, note, &json!(true)));
    let token = mint(&folder, &["--secret-file", "secret", "--kid", "k2"]).await;
    let (code, shown, _) = verify(&folder, &token, &["--jwks", "jwks.json"]).await;
    assert_eq!((code, shown["why"].as_str()), (1, Some("no key has this `kid`")));
}

/// Not the testkit's way to run the program, which has an empty environment.
#[test]
fn a_secret_comes_from_a_variable_and_is_never_shown() {
    let run = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["token", "mint", "--secret-env", name]).args(arguments).stdin(Stdio::null());
        let output = command.env_clear().env("SIGNING", SECRET).env("SHORT", "hunter2").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, token, _) = run("SIGNING", &[]);
    assert_eq!((code, token.matches('.').count()), (Some(0), 2));
    let (code, _, stderr) = run("SHORT", &[]);
    assert_eq!((code, stderr.as_str()), (Some(1), "error: the secret has 7 bytes, at least 32 are needed\n"));
    assert_eq!(run("SHORT", &["--weak-secret"]).0, Some(0));
    let (code, _, stderr) = run("NONE", &[]);
    assert_eq!((code, stderr.as_str()), (Some(1), "error: variable `NONE`: environment variable not found\n"));
    let (code, _, stderr) = run("SIGNING", &["--alg", "RS256"]);
    assert_eq!((code, stderr.as_str()), (Some(1), "error: no allowed algorithm fits a secret\n"));
}

#[tokio::test]
async fn keys_that_do_not_fit_are_told() {
    let folder = folder();
    std::fs::write(folder.path().join("public-as-secret"), "-----BEGIN PUBLIC KEY-----\n").unwrap();
    for (arguments, wanted) in [
        (vec!["mint", "--key", "rsa_public.pem"], "error: rsa_public.pem: unexpected PEM block `PUBLIC KEY`\n"),
        (
            vec!["mint", "--key", "p256.pem", "--alg", "RS256"],
            "error: p256.pem: no allowed algorithm fits the private key\n",
        ),
        (vec!["mint", "--key", "none.pem"], "error: none.pem: No such file or directory (os error 2)\n"),
        (vec!["mint", "--secret-file", "public-as-secret"], "error: the secret is a key in PEM: give it as a key\n"),
        (
            vec!["mint", "--secret-file", "secret", "--sub", "a", "--claim", "sub=b"],
            "error: claim `sub` is given twice\n",
        ),
        (
            vec!["verify", "a.b.c", "--key", "p256.pem"],
            "error: p256.pem: this is a private key: give the public one, and keep this one where tokens are signed\n",
        ),
        (vec!["verify", "a.b.c", "--jwks", "p256.pem"], "error: p256.pem: not a JWK or JWK Set: not a JSON object\n"),
    ] {
        let output = run(&folder, &[&["token"], arguments.as_slice()].concat()).await;
        assert_eq!((output.code, output.stderr.as_str(), output.stdout.as_str()), (1, wanted, ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_two() {
    let folder = folder();
    for arguments in [
        &["token", "mint"][..],
        &["token", "mint", "--secret", SECRET],
        &["token", "mint", "--secret-file", "secret", "--key", "rsa.pem"],
        &["token", "mint", "--secret-file", "secret", "--alg", "none"],
        &["token", "mint", "--secret-file", "secret", "--expires", "soon"],
        &["token", "mint", "--secret-file", "secret", "--claim", "novalue"],
        &["token", "verify", "--secret-file", "secret"],
        &["token", "verify", "a.b.c"],
        &["token", "mint", "-c", "tidegate.yaml"],
        &["token", "mint", "--provider", "local"],
        &["token", "mint", "-c", "tidegate.yaml", "--provider", "local", "--key", "rsa.pem"],
        &["token", "verify", "a.b.c", "--key", "rsa_public.pem", "--jwks", "jwks.json"],
        &["api-key"],
        &["api-key", "new", "--prefix", "a b"],
    ] {
        let output = run(&folder, arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{arguments:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn an_api_key_is_printed_once_with_what_the_configuration_gets() {
    let folder = folder();
    let new = ["api-key", "new", "--id", "partner-1", "--roles", "operator,viewer", "--prefix", "acme_"];
    let (one, other) = (run(&folder, &new).await, run(&folder, &new).await);
    assert_eq!((one.code, one.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = one.stdout.lines().collect();
    let [key, "", comment, entry] = lines[..] else { panic!("{}", one.stdout) };
    assert!(key.starts_with("acme_") && key.len() == 5 + 43 && !other.stdout.contains(key));
    assert!(comment.starts_with("# "));
    let (hash, rest) = entry.strip_prefix('"').unwrap().split_once('"').unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
    assert_eq!(rest, ": { \"id\": \"partner-1\", \"roles\": [\"operator\", \"viewer\"] }");
}

/// A configuration with providers of all kinds, which `check` accepts.
fn configured(folder: &TempDir, entry: &str) {
    let yaml = format!(
        "version: 1
auth:
  default: [local]
  providers:
    local: {{ type: jwt, algorithms: [HS384, HS256], secret: \"{SECRET}\", issuer: us, audience: [orders, bills], typ: at+jwt, roles_claim: realm.roles }}
    pem: {{ type: jwt, algorithms: [PS256], public_key: rsa_public.pem }}
    url: {{ type: jwt, algorithms: [RS256], jwks: \"https://id.example.com/jwks.json\" }}
    partner: {{ type: api_key, keys: {{ {entry} }} }}
listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]
routes: [{{ name: ping, path: /ping, method: GET, auth_required: true, respond: {{ status: 204 }} }}]
"
    );
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
}

#[tokio::test]
async fn key_and_rules_come_from_a_provider() {
    let folder = folder();
    let made = run(&folder, &["api-key", "new", "--id", "on: call", "--roles", "operator"]).await;
    configured(&folder, made.stdout.lines().last().unwrap());
    let checked = run(&folder, &["check", "-c", "tidegate.yaml"]).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    let local = ["-c", "tidegate.yaml", "--provider", "local"];
    let token = mint(&folder, &[&local[..], &["--roles", "admin"]].concat()).await;
    let (code, shown, stderr) = verify(&folder, &token, &local).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(shown["header"], json!({"alg": "HS384", "typ": "at+jwt"}));
    let claims = &shown["claims"];
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("us"), &json!("orders")));
    assert_eq!(claims["realm"], json!({"roles": ["admin"]}));
    // What is given counts, in both commands.
    let token = mint(&folder, &[&local[..], &["--issuer", "them", "--alg", "HS256"]].concat()).await;
    let (code, shown, _) = verify(&folder, &token, &local).await;
    assert_eq!((code, shown["why"].as_str()), (1, Some("`iss` is not the expected one")));
    assert_eq!(verify(&folder, &token, &[&local[..], &["--issuer", "them"]].concat()).await.0, 0);
    let token = mint(&folder, &["--key", "rsa.pem", "--alg", "PS256"]).await;
    assert_eq!(verify(&folder, &token, &["-c", "tidegate.yaml", "--provider", "pem"]).await.0, 0);
}

#[tokio::test]
async fn providers_that_cannot_help_are_told() {
    let folder = folder();
    configured(&folder, "");
    let public = "error: the provider has public keys, and whoever signs has the private one: give it with `--key`\n";
    for (provider, wanted) in [
        ("none", "error: the configuration has no provider `none`\n"),
        ("partner", "error: provider `partner` is not of `type: jwt`\n"),
        ("pem", public),
        ("url", public),
    ] {
        let output = run(&folder, &["token", "mint", "-c", "tidegate.yaml", "--provider", provider]).await;
        assert_eq!((output.code, output.stderr.as_str()), (1, wanted), "{provider}");
    }
    let (code, _, stderr) = verify(&folder, "a.b.c", &["-c", "tidegate.yaml", "--provider", "url"]).await;
    assert!(code == 1 && stderr.contains("`--jwks`"), "{stderr}");
    std::fs::write(folder.path().join("tidegate.yaml"), "version: 1\nauths: {}\n").unwrap();
    let output = run(&folder, &["token", "mint", "-c", "tidegate.yaml", "--provider", "local"]).await;
    assert!(output.code == 78 && output.stderr.contains("unknown key \"auths\""), "{}", output.stderr);
}
