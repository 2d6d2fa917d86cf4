//! What the runtime asks for, from the environment.

use crate::failure::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Add,
    Delete,
    Check,
    GarbageCollect,
    Status,
    Version,
}

/// The pod that Kubernetes names; other runtimes name none.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// * `netns`: path of the pod's network namespace; "" where none is needed.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    pub command: Command,
    pub netns: String,
    pub pod: Option<Pod>,
}

impl Invocation {
    /// # Errors
    /// A variable that the command needs is missing.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let need = |name: &str| get(name).filter(|value| !value.is_empty()).ok_or_else(|| Failure::environment(name));
        let command = match need("CNI_COMMAND")?.as_str() {
            "ADD" => Command::Add,
            "DEL" => Command::Delete,
            "CHECK" => Command::Check,
            "GC" => Command::GarbageCollect,
            "STATUS" => Command::Status,
            "VERSION" => Command::Version,
            _ => return Err(Failure::environment("CNI_COMMAND")),
        };
        // Of a pod that ends it may be gone already.
        let netns = if command == Command::Add { need("CNI_NETNS")? } else { String::new() };
        Ok(Self { command, netns, pod: pod_of(&get("CNI_ARGS").unwrap_or_default()) })
    }
}

/// Source: the specification's `CNI_ARGS`; Kubernetes' names of them are those of containerd and CRI-O.
fn pod_of(arguments: &str) -> Option<Pod> {
    let value = |key: &str| {
        let found = arguments.split(';').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
        found.map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
    };
    Some(Pod { namespace: value("K8S_POD_NAMESPACE")?, name: value("K8S_POD_NAME")?, uid: value("K8S_POD_UID").unwrap_or_default() })
}
