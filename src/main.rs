//! The thin binary: hands the command line to the library and its exit code to the shell.

fn main() -> std::process::ExitCode {
    siegel::cli::run()
}
