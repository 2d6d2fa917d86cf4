//! The program itself, run as a container runtime runs it, with an agent on a real socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

const RESULT: &str = r#"{"cniVersion":"1.0.0","zebra":1,"ips":[{"address":"10.0.0.2/24"}],"apple":null}"#;
const ARGUMENTS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u";

/// An agent that answers one question.
struct Agent {
    socket: PathBuf,
    asked: JoinHandle<Value>,
}

impl Agent {
    fn that_says(name: &str, answer: &'static str) -> Self {
        let socket = socket(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
            serde_json::from_str(&line).unwrap()
        });
        Self { socket, asked }
    }
}

/// A path that no other test uses, and nobody listens at.
fn socket(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ambient-cni-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn config(socket: &Path) -> String {
    format!(
        r#"{{"name":"pods","type":"ambient-cni","socket":"{}","excludeNamespaces":["kube-system"],"prevResult":{RESULT}}}"#,
        socket.display()
    )
}

fn run(command: &str, arguments: &str, config: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ambient-cni"))
        .env_clear()
        .envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", "c"), ("CNI_NETNS", "/run/netns/x"), ("CNI_ARGS", arguments)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that needs no configuration may end before it has read it.
    let _ = child.stdin.take().unwrap().write_all(config.as_bytes());
    child.wait_with_output().unwrap()
}

fn failure(output: &Output) -> (u64, String) {
    assert!(!output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    (said["code"].as_u64().unwrap(), said["details"].as_str().unwrap().to_owned())
}

#[test]
fn a_pod_that_the_agent_captured_starts_with_the_network_that_it_was_given() {
    let agent = Agent::that_says("captured", "{\"error\":\"\"}\n");
    let output = run("ADD", ARGUMENTS, &config(&agent.socket));
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), RESULT);
    let question = json!({"protocol": 1, "command": "ADD", "netns": "/run/netns/x", "namespace": "shop", "name": "web", "uid": "u"});
    assert_eq!(agent.asked.join().unwrap(), question);
}

#[test]
fn a_pod_that_the_agent_cannot_capture_does_not_start_and_is_tried_again() {
    let agent = Agent::that_says("refused", "{\"error\":\"ztunnel has not acknowledged\"}\n");
    let output = run("ADD", ARGUMENTS, &config(&agent.socket));
    assert_eq!(failure(&output), (11, "ztunnel has not acknowledged".to_owned()));
}

#[test]
fn an_answer_that_is_none_starts_no_pod() {
    for (name, answer) in [("empty", "\n"), ("list", "[]\n"), ("cut", "{\"error\":"), ("number", "{\"error\":1}\n")] {
        let agent = Agent::that_says(name, answer);
        assert_eq!(failure(&run("ADD", ARGUMENTS, &config(&agent.socket))).0, 11, "{answer:?}");
    }
}

#[test]
fn without_an_agent_no_pod_starts_but_what_a_cluster_needs_before_it() {
    let away = config(&socket("away"));
    let (code, details) = failure(&run("ADD", ARGUMENTS, &away));
    assert_eq!(code, 11);
    assert!(details.contains("DaemonSet ambient"), "{details}");
    assert!(run("ADD", "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns", &away).status.success());
    assert!(run("ADD", "", &away).status.success(), "a container of somebody else's");
}

#[test]
fn a_pod_ends_without_an_agent_and_the_network_is_ready() {
    for command in ["DEL", "CHECK", "GC", "STATUS"] {
        let output = run(command, ARGUMENTS, &config(&socket("gone")));
        assert!(output.status.success(), "{command}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn versions_are_told_without_a_configuration() {
    let output = run("VERSION", "", "");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
}

#[test]
fn a_configuration_that_is_none_is_refused() {
    let huge = format!(r#"{{"prevResult":{{}},"padding":"{}"}}"#, "x".repeat(1 << 20));
    let broken =
        ["", "[]", r#"{"socket":1,"prevResult":{}}"#, r#"{"excludeNamespaces":"x","prevResult":{}}"#, "{}", r#"{"prevResult":[]}"#, &huge];
    for text in broken {
        assert_eq!(failure(&run("ADD", ARGUMENTS, text)).0, 7, "{text:.40}");
    }
    assert_eq!(failure(&run("FLY", "", "{}")).0, 4);
}
