//! The last plugin of a node's CNI chain: asks the node's agent to capture a pod before it starts.
//!
//! It decides nothing: the agent knows which pods belong in the mesh. Without an answer the pod does not start.
//! Source: Container Network Interface specification 1.1.0.

mod agent;
mod config;
mod failure;
mod invocation;

pub use config::MAX_CONFIG_BYTES;
pub use failure::Failure;

use config::Config;
use invocation::{Command, Invocation};

/// Every version that a runtime may speak; a result is printed as it came, so nothing depends on it.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Does what the runtime asks for, and returns what is to be printed.
///
/// # Arguments
/// * `variable`: of the environment, by its name.
/// * `config`: what came on standard input.
///
/// # Errors
/// The pod may not start; the runtime is told why.
pub fn run(variable: impl Fn(&str) -> Option<String>, config: &[u8]) -> Result<String, Failure> {
    let invocation = Invocation::from_environment(variable)?;
    if invocation.command == Command::Version {
        return Ok(format!(r#"{{"cniVersion":"1.1.0","supportedVersions":{VERSIONS:?}}}"#));
    }
    let config = Config::parse(config)?;
    match invocation.command {
        Command::Add => add(&invocation, &config),
        // A runtime that is told that the network is not ready starts no pod, the agent's own among them: ADD holds back those that matter.
        // What ends needs no agent: it sees for itself that a pod's namespace is gone, and a pod must be able to end without it.
        Command::Status | Command::Delete | Command::Check | Command::GarbageCollect | Command::Version => Ok(String::new()),
    }
}

fn add(invocation: &Invocation, config: &Config) -> Result<String, Failure> {
    let result = config.previous_result()?;
    if let Some(pod) = invocation.pod.as_ref().filter(|pod| !config.excludes(&pod.namespace)) {
        agent::capture(&config.socket, &invocation.netns, pod)?;
    }
    Ok(result)
}
