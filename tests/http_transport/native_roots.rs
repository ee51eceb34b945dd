//! The roots of the system, as its environment variables name them.

use std::path::Path;

use headworks::http_transport::{NativeRoots, TlsConfig, TransportConfig, Trust, UnreadableRoots};

use crate::server::{patiently, transport};
use crate::tls::{Root, Says, serve};

/// Does nothing unless it is the child of one of the others.
#[tokio::test]
async fn child_asks_with_the_systems_roots() {
    let Ok(url) = std::env::var("HEADWORKS_TEST_TLS_URL") else { return };
    let roots = match NativeRoots::load() {
        Ok(roots) => roots,
        Err(error) => return println!("<none: {:?}>", error.unreadable),
    };
    for part in roots.unreadable() {
        let kind = match part {
            UnreadableRoots::Io { kind, .. } => format!("io {kind:?}"),
            UnreadableRoots::Pem(_) => "pem".to_owned(),
            UnreadableRoots::NoRoots(count) => format!("no roots {count}"),
            other => format!("{other:?}"),
        };
        println!("unreadable: {kind}");
    }
    let trust = match std::env::var("HEADWORKS_TEST_OWN_ROOT") {
        Ok(own) => Trust::NativeRootsAnd(roots, own.into_bytes()),
        Err(_) => Trust::NativeRoots(roots),
    };
    let tls = TlsConfig::default().with_trust(trust);
    let transport = transport(TransportConfig::default().with_tls(tls));
    match transport.get(url).await {
        Ok(answer) => println!("<{}>", answer.status()),
        Err(error) => println!("<{error}>"),
    }
}

struct Stores<'a> {
    file: Option<&'a Path>,
    folder: Option<&'a Path>,
    own: Option<&'a str>,
}

async fn child(url: &str, stores: Stores<'_>) -> String {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    let test = "native_roots::child_asks_with_the_systems_roots";
    child.args(["--exact", test, "--nocapture"]).kill_on_drop(true);
    child.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    child.env("HEADWORKS_TEST_TLS_URL", url);
    child.envs(stores.file.map(|path| ("SSL_CERT_FILE", path)));
    child.envs(stores.folder.map(|path| ("SSL_CERT_DIR", path)));
    child.envs(stores.own.map(|pem| ("HEADWORKS_TEST_OWN_ROOT", pem)));
    let output = patiently(child.output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_systems_roots_vouch_and_what_cant_be_read_of_them_is_told() {
    let (root, other) = (Root::new(), Root::new());
    let leaf = root.signs(|_| {});
    let server = serve(Says::only(&leaf)).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("good.pem"), &root.pem).unwrap();
    std::fs::write(path("other.pem"), &other.pem).unwrap();
    let stores = |file| Stores { file: Some(file), folder: None, own: None };

    let (good, others) = (path("good.pem"), path("other.pem"));
    assert!(child(&url, stores(&good)).await.contains("<200 OK>"));
    let said = child(&url, stores(&others)).await;
    assert!(said.contains("nobody who is trusted vouches"), "{said}");
    let said = child(&url, Stores { own: Some(&root.pem), ..stores(&others) }).await;
    assert!(said.contains("<200 OK>"), "{said}");

    let missing = path("missing.pem");
    let none = child(&url, stores(&missing)).await;
    assert!(none.contains("<none: [Io") && none.contains("NotFound"), "{none}");

    // Some can't be read, some are no certificates, and one is.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(path("broken.pem"), broken).unwrap();
    std::fs::write(path("cut.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let said = child(&url, Stores { folder: Some(folder.path()), ..stores(&missing) }).await;
    assert!(said.contains("<200 OK>"), "{said}");
    for part in ["unreadable: io NotFound", "unreadable: pem", "unreadable: no roots 1"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
