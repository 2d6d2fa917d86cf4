//! What a runtime is told when a pod cannot start.

use std::io;

use serde_json::json;

/// A failure as the specification has it, "Error".
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    code: u32,
    message: String,
    details: String,
}

impl Failure {
    /// An environment variable is missing or wrong: code 4.
    pub fn environment(name: &str) -> Self {
        Self::new(4, "an environment variable is missing or not valid", name)
    }

    /// The configuration cannot be used: code 7.
    pub fn config(details: &str) -> Self {
        Self::new(7, "the network configuration is not valid", details)
    }

    /// Input or output failed: code 5.
    pub fn io(message: &str, error: &io::Error) -> Self {
        Self::new(5, message, &error.to_string())
    }

    /// The agent is away or cannot capture the pod now: code 11, upon which the runtime tries again.
    pub fn try_again(details: &str) -> Self {
        Self::new(11, "the mesh cannot capture this pod now", details)
    }

    fn new(code: u32, message: &str, details: &str) -> Self {
        Self { code, message: message.to_owned(), details: details.to_owned() }
    }

    pub fn to_json(&self) -> String {
        json!({"cniVersion": "1.0.0", "code": self.code, "msg": self.message, "details": self.details}).to_string()
    }
}
