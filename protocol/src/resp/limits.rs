//! Hard bounds on what a peer may make us hold. Checked while scanning, before anything is kept.

/// Bounds on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Most arguments, the command name included.
    pub args_max: u32,
    /// Most bytes of one argument (Redis: `proto-max-bulk-len`).
    pub bulk_bytes_max: u32,
    /// Most bytes of one whole request.
    pub request_bytes_max: u32,
    /// Most bytes of one inline request, line end included.
    pub inline_bytes_max: u32,
}

impl RequestLimits {
    /// What Redis allows an authenticated client: 1 Mi arguments, 512 MiB an argument, 64 KiB a line.
    pub const AUTHENTICATED: RequestLimits = RequestLimits {
        args_max: 1024 * 1024,
        bulk_bytes_max: 512 * 1024 * 1024,
        request_bytes_max: 1024 * 1024 * 1024,
        inline_bytes_max: 64 * 1024,
    };

    /// For bytes that have passed the bounds of a listener already, whatever the operator set those to, and are
    /// read once more; nothing new is held for them.
    pub const ADMITTED: RequestLimits = RequestLimits {
        args_max: u32::MAX,
        bulk_bytes_max: u32::MAX,
        request_bytes_max: u32::MAX,
        inline_bytes_max: u32::MAX,
    };

    /// Before authentication: enough for HELLO with AUTH and SETNAME, and for nothing else
    /// (Redis: 10 arguments of 16 KiB).
    pub const BEFORE_AUTH: RequestLimits = RequestLimits {
        args_max: 10,
        bulk_bytes_max: 16 * 1024,
        request_bytes_max: 64 * 1024,
        inline_bytes_max: 16 * 1024,
    };
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self::AUTHENTICATED
    }
}
