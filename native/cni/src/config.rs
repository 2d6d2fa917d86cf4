//! The plugin's entry of the node's network configuration, which the agent wrote.

use serde_json::{Map, Value};

use crate::failure::Failure;

/// A configuration with its `prevResult`; what is larger is none.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;
const SOCKET: &str = "/run/ambient/cni.sock";

/// * `socket`: where the agent listens.
#[derive(Debug)]
pub struct Config {
    pub socket: String,
    exclude_namespaces: Vec<String>,
    previous_result: Option<Map<String, Value>>,
}

impl Config {
    /// # Errors
    /// It is not JSON, too large, or a field is of the wrong type.
    pub fn parse(data: &[u8]) -> Result<Self, Failure> {
        if data.len() > MAX_CONFIG_BYTES {
            return Err(Failure::config("it is larger than a megabyte"));
        }
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(data) else {
            return Err(Failure::config("it is no JSON object"));
        };
        Ok(Self {
            socket: match fields.remove("socket") {
                None => SOCKET.to_owned(),
                Some(Value::String(path)) => path,
                Some(_) => return Err(Failure::config("socket is no text")),
            },
            exclude_namespaces: match fields.remove("excludeNamespaces") {
                None => Vec::new(),
                Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                Some(_) => return Err(Failure::config("excludeNamespaces is no list")),
            },
            previous_result: match fields.remove("prevResult") {
                Some(Value::Object(result)) => Some(result),
                _ => None,
            },
        })
    }

    /// Whether pods of a namespace start without the agent: the mesh's own, and what a cluster needs before it.
    pub fn excludes(&self, namespace: &str) -> bool {
        self.exclude_namespaces.iter().any(|one| one == namespace)
    }

    /// What the plugins before this one did, which is what is printed: nothing of it is ours to change.
    ///
    /// # Errors
    /// There is none: this plugin is chained behind one that makes a network.
    pub fn previous_result(&self) -> Result<String, Failure> {
        let result = self.previous_result.as_ref();
        result
            .map(|fields| Value::Object(fields.clone()).to_string())
            .ok_or_else(|| Failure::config("no prevResult: ambient-cni comes after the plugin that makes the pod's network"))
    }
}
