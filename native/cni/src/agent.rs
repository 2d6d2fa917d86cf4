//! One question to the node's agent, and its answer: a line of JSON each over a unix socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::invocation::Pod;

/// Of the question. A field that an older agent does not know it passes over; what it must know raises this number.
const PROTOCOL: u32 = 1;
/// Capture takes some 200 ms; a ztunnel that restarts, some seconds. The kubelet gives up on a pod's sandbox after four minutes.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Returns when the pod is captured, or when the agent says that it is not to be.
///
/// # Errors
/// The agent is away, does not answer in time, or cannot do it; the runtime is to try again.
pub fn capture(socket: &str, netns: &str, pod: &Pod) -> Result<(), Failure> {
    let question = json!({
        "protocol": PROTOCOL, "command": "ADD", "netns": netns, "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
    });
    let answer = exchange(socket, &question).map_err(|error| {
        Failure::try_again(&format!("the agent of this node does not answer at {socket}: {error}; is the DaemonSet ambient running here?"))
    })?;
    match answer.get("error").and_then(Value::as_str) {
        Some("") => Ok(()),
        Some(error) => Err(Failure::try_again(error)),
        None => Err(Failure::try_again("the agent of this node gives an answer that is none")),
    }
}

fn exchange(socket: &str, question: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}
