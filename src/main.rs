//! placeholder

#[cfg(feature = "lab")]
fn main() -> std::process::ExitCode {
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Command,
    }
    #[derive(clap::Subcommand)]
    enum Command {
        Lab(mtasts::lab::command::LabArgs),
    }
    let arguments: Arguments = clap::Parser::parse();
    let Command::Lab(arguments) = arguments.command;
    mtasts::lab::command::run(arguments)
}

#[cfg(not(feature = "lab"))]
fn main() {}
