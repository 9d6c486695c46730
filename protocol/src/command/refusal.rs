//! What to answer a request that cannot be executed as it stands: the error texts of Redis, to the
//! letter. Client libraries read them to tell an old server from a typing error.

use super::spec::CommandSpec;
use crate::resp::Args;

/// Redis shows at most this many bytes of a name, and about as many of the arguments behind it.
const SHOWN_MAX: usize = 128;

/// Why a request has no row in the command table, or does not fit it.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// There is no such command.
    UnknownCommand,
    /// This command has no such subcommand.
    UnknownSubcommand(&'static CommandSpec),
    /// This command, or subcommand, does not take so many arguments.
    Arity(&'static CommandSpec),
}

impl Refusal {
    /// Appends the error reply, from `-ERR` to the line end. `args` is the request refused.
    #[cold]
    pub fn reply(&self, args: Args<'_>, out: &mut Vec<u8>) {
        out.push(b'-');
        self.text(args, out);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the error's text, from `ERR` on, without line end. The request's bytes in it may be
    /// anything but line ends, which become spaces; text need not be UTF-8.
    #[cold]
    pub fn text(&self, args: Args<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Refusal::UnknownCommand => unknown_command(args, out),
            Refusal::UnknownSubcommand(container) => {
                out.extend_from_slice(b"ERR unknown subcommand '");
                out.extend_from_slice(shown(args.at(1), SHOWN_MAX));
                out.extend_from_slice(b"'. Try ");
                out.extend_from_slice(container.name.as_bytes());
                out.extend_from_slice(b" HELP.");
            }
            Refusal::Arity(spec) => wrong_arity(spec, out),
        }
        for byte in &mut out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
}

/// Appends the text of an arity error, from `ERR` on. For rules that the arity alone does not tell
/// (MSET's pairs).
#[cold]
pub fn wrong_arity(spec: &CommandSpec, out: &mut Vec<u8>) {
    // Even so it ends the transaction, and says so.
    let before: &[u8] =
        if spec.name == "EXEC" { b"EXECABORT Transaction discarded because of: " } else { b"ERR " };
    out.extend_from_slice(before);
    out.extend_from_slice(b"wrong number of arguments for '");
    out.extend(spec.name.bytes().map(|byte| byte.to_ascii_lowercase()));
    out.extend_from_slice(b"' command");
}

fn unknown_command(args: Args<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERR unknown command '");
    out.extend_from_slice(shown(args.at(0), SHOWN_MAX));
    out.extend_from_slice(b"', with args beginning with: ");
    let start = out.len();
    for argument in args.iter().skip(1) {
        let room = SHOWN_MAX.saturating_sub(out.len() - start);
        if room == 0 {
            break;
        }
        out.push(b'\'');
        out.extend_from_slice(shown(argument, room));
        out.extend_from_slice(b"' ");
    }
}

/// As much of `bytes` as Redis shows, which ends its text at a zero byte.
fn shown(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
