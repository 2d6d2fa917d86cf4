//! The program: standard input, standard output and the environment around `ambient_cni::run`.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use ambient_cni::{Failure, MAX_CONFIG_BYTES, run};

fn main() -> ExitCode {
    let (output, code) = match read_stdin().and_then(|config| run(|name| std::env::var(name).ok(), &config)) {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err(failure) => (failure.to_json(), ExitCode::FAILURE),
    };
    // A runtime that does not listen any more has given up on the pod.
    let _ = io::stdout().write_all(output.as_bytes());
    code
}

/// One byte more than there may be tells that there is too much.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    io::stdin()
        .take(MAX_CONFIG_BYTES as u64 + 1)
        .read_to_end(&mut data)
        .map_err(|error| Failure::io("the configuration cannot be read", &error))?;
    Ok(data)
}
