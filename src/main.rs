//! The thin binary: hands the command line to the library and its exit code to the shell.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    siegel::cli::run()
}
