//! The `mtasts` command. All of it is in [`mtasts::cli`].

fn main() -> std::process::ExitCode {
    mtasts::cli::run()
}
