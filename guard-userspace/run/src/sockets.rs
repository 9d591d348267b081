//! Sockets in the file system that somebody listens on: each is a way to a process outside.

use std::path::PathBuf;

/// `SO_ACCEPTCON` of `linux/net.h`, as `/proc/net/unix` shows it: the socket listens.
const LISTENS: &str = "00010000";
const DATAGRAM: &str = "0002";

/// Those of this network namespace that have a path, as they are now. Datagram sockets don't listen, and are reached all the same.
pub fn listening() -> Vec<PathBuf> {
    paths(&std::fs::read_to_string("/proc/net/unix").unwrap_or_default())
}

/// `Num RefCount Protocol Flags Type St Inode Path`.
fn paths(table: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = table.lines().skip(1).filter_map(path).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn path(line: &str) -> Option<PathBuf> {
    let mut rest = line.trim_start();
    let mut fields = [""; 7];
    for field in &mut fields {
        let (first, after) = rest.split_once(' ')?;
        *field = first;
        rest = after.trim_start_matches(' ');
    }
    let is_way = fields[3] == LISTENS || fields[4] == DATAGRAM;
    (is_way && rest.starts_with('/')).then(|| PathBuf::from(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_sockets_that_can_be_reached_are_found() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20000 /run/docker.sock
0000000000000000: 00000002 00000000 00010000 0001 01 20001 @/tmp/.X11-unix/X0
0000000000000000: 00000003 00000000 00000000 0001 03 20002 /run/docker.sock
0000000000000000: 00000003 00000000 00000000 0001 03 20003
0000000000000000: 00000002 00000000 00000000 0002 01 20004 /home/me/a b.sock
";
        assert_eq!(paths(table), [PathBuf::from("/home/me/a b.sock"), PathBuf::from("/run/docker.sock")]);
    }
}
