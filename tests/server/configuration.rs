//! What is wrong with a configuration, said in one line.
use std::time::Duration;

use clap::Parser as _;
use tegata::args::serve::ServeArgs;
use tegata::commands::serve;
use tegata::commands::serve::Options;
use tegata::commands::serve::Origin;
use tokio::sync::mpsc;

use crate::fake::Fake;
use crate::live::Command;
use crate::live::Policies;
use crate::live::args;
use crate::live::no_policies;

async fn fails_to_start(args: ServeArgs, load: fn() -> Policies) -> (u8, String) {
    let (_signals, received) = mpsc::channel(1);
    let serving =
        serve::serve(args, Options::default(), Fake::default(), Origin::Files(load), received);
    let error = tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap_err();
    (error.exit_code(), error.to_string())
}

#[tokio::test]
async fn names_what_is_wrong_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut busy = args(&["--policies=p"]);
    busy.listen = address.parse().unwrap();
    let (code, text) = fails_to_start(busy, no_policies).await;
    assert_eq!(code, 2);
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");

    let missing = folder.path().join("absent.pem").display().to_string();
    let arguments = [format!("--tls-cert={missing}"), "--tls-key=k".into(), "--policies=p".into()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, text) = fails_to_start(args(&arguments), no_policies).await;
    assert_eq!(code, 2);
    assert!(text.contains(&missing), "{text}");

    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "no pem").unwrap();
    let path = garbage.display();
    let arguments =
        [format!("--tls-cert={path}"), format!("--tls-key={path}"), "--policies=p".into()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, text) = fails_to_start(args(&arguments), no_policies).await;
    assert_eq!(code, 2);
    assert!(text.contains("garbage.pem"), "{text}");

    let (code, text) =
        fails_to_start(args(&["--policies=p"]), || Err("p: no such folder".to_owned())).await;
    assert_eq!((code, text.as_str()), (2, "cannot load the policies: p: no such folder"));

    let (code, text) =
        fails_to_start(args(&["--policies=p", "--tls-name=b\u{fc}cher"]), no_policies).await;
    assert_eq!(code, 2);
    assert!(text.contains("b\u{fc}cher"), "{text}");
}

#[test]
fn rejects_arguments_that_cannot_be_meant() {
    for arguments in [
        &["serve", "--policies=p", "--tls-cert=c"][..],
        &["serve", "--policies=p", "--tls-key=k"],
        &["serve", "--policies=p", "--tls-cert=c", "--tls-key=k", "--tls-ca-out=o"],
        &["serve", "--policies=p", "--no-match=perhaps"],
        &["serve", "--policies=p", "--mutate=some"],
        &["serve", "--policies=p", "--max-in-flight=0"],
        &["serve", "--policies=p", "--default-timeout=0s"],
        &["serve", "--policies=p", "--default-timeout=10"],
        &["serve", "--policies=p", "--default-timeout=31s"],
        &["serve", "--policies=p", "--drain-delay=61m"],
        &["serve", "--policies=p", "--drain-timeout=99999h"],
        &["serve", "--policies=p", "--log-filter="],
        &["serve", "--policies=p", "--listen=8443"],
        &["serve", "--policies=p", "--log-filter=tegata=loud"],
    ] {
        assert!(Command::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}
