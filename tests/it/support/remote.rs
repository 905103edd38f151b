//! A SoftHSM token behind a link, as network HSMs are: `p11-kit server` on a unix socket.

use super::process::leashed;
use super::token::softhsm_module;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

/// The far end of the link. Dropping it cuts the link.
pub struct RemoteToken {
    server: Child,
}

impl RemoteToken {
    /// The near end, as Debian's package `p11-kit-modules` installs it.
    #[cfg(target_arch = "x86_64")]
    pub const MODULE: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";
    /// The near end, as Debian's package `p11-kit-modules` installs it.
    #[cfg(not(target_arch = "x86_64"))]
    pub const MODULE: &str = "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so";

    /// Whether both ends are installed; if not, a line is printed, or with `SIEGEL_NEED_P11_KIT=1` this
    /// fails.
    pub fn is_installed() -> bool {
        let server = Path::new("/usr/libexec/p11-kit/p11-kit-server");
        let found = Path::new(Self::MODULE).is_file() && server.is_file();
        if !found {
            let needed = std::env::var("SIEGEL_NEED_P11_KIT").is_ok_and(|needed| needed == "1");
            assert!(!needed, "install the packages p11-kit and p11-kit-modules");
            println!("no link to a token here: p11-kit and p11-kit-modules are not installed");
        }
        found
    }

    /// Offers all tokens of a SoftHSM folder on a socket.
    pub fn start(socket: &Path, softhsm_conf: &Path) -> Self {
        let _ = fs::remove_file(socket);
        let mut command = leashed(Path::new("p11-kit"), None);
        command
            .args(["server", "--foreground", "--provider"])
            .arg(softhsm_module())
            .arg("--name")
            .arg(socket)
            .arg("pkcs11:")
            .env("SOFTHSM2_CONF", softhsm_conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Each connection has a process of its own; all of them shall end together.
            .process_group(0);
        let server = command.spawn().unwrap();
        let listens = || UnixStream::connect(socket).ok();
        crate::http::client::wait_for("the link", listens);
        Self { server }
    }
}

impl Drop for RemoteToken {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.server), Signal::KILL);
        let _ = self.server.wait();
    }
}
