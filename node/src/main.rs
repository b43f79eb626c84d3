//! The program `banyan`.

use std::process::ExitCode;

fn main() -> ExitCode {
    banyan_node::cli::main()
}
