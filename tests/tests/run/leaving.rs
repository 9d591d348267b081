//! What the command would have to reach to leave.

use std::fs;

use super::BED;
use super::bed::CANARY;

/// A line of shell that must fail, or say something, under guard.
struct Way {
    what: &'static str,
    line: &'static str,
}

/// Each ends well only if it finds a way out.
const WAYS: [Way; 24] = [
    Way { what: "credentials in the home", line: "grep -rqs canary-of-the-home ~" },
    Way { what: "the user's kubeconfig", line: "grep -rqs client-key ~ /run /etc/kubernetes" },
    Way {
        what: "a socket of a daemon in the home",
        line: "perl -MIO::Socket::UNIX -e 'exit(IO::Socket::UNIX->new(Peer=>\"$ENV{HOME}/daemon.sock\")?0:1)'",
    },
    Way {
        what: "an abstract socket",
        line: "perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0);exit(connect(S,pack(\"Sa*\",AF_UNIX,\"\\0egress-guard-e2e-daemon\"))?0:1)'",
    },
    Way {
        what: "docker, containerd, podman, D-Bus, systemd, X11, tmux, ssh-agent: any socket there",
        line: "find /run /var/run/ /tmp /var/tmp -type s | grep -q .",
    },
    Way {
        what: "cron and at",
        line: "touch /var/spool/cron/x || touch /var/spool/cron/crontabs/x || touch /etc/cron.d/x || touch /var/spool/x/x",
    },
    Way { what: "processes of others", line: "ps -eo pid=,uid= | awk '$1 != 1 && $2 != 47110' | grep -q ." },
    Way {
        what: "the init's memory and descriptors",
        line: "ls /proc/1/fd || head -c 1 /proc/1/mem || readlink /proc/1/root",
    },
    Way { what: "ptrace of the init", line: "perl -e 'exit(syscall(101,16,1,0,0)==0?0:1)'" },
    Way { what: "namespaces of the init", line: "nsenter --target 1 --net true || nsenter --target 1 --user true" },
    Way { what: "another cgroup", line: "find /sys/fs/cgroup -name cgroup.procs | grep -q ." },
    Way {
        what: "cgroup2 mounted anew",
        line: "unshare --user --map-root-user --mount --cgroup sh -c 'mount -t cgroup2 none /tmp && mkdir /tmp/x'",
    },
    Way {
        what: "what is below a mount, in a nested user namespace",
        line: "unshare --user --map-root-user --mount sh -c 'umount ~/.aws || umount -l ~/.kube || umount /run'",
    },
    Way {
        what: "the network's settings, in a nested user namespace",
        line: "unshare --user --map-root-user sh -c 'ip link set eth0 down || ip route del default'",
    },
    Way { what: "a raw socket", line: "perl -MSocket -e 'exit(socket(S,AF_INET,SOCK_RAW,6)?0:1)'" },
    Way { what: "a packet socket", line: "perl -MSocket -e 'exit(socket(S,17,SOCK_RAW,0)?0:1)'" },
    Way { what: "a set-uid program", line: "test \"$(set-uid-id -u)\" = 0" },
    Way { what: "other groups", line: "test \"$(id -G)\" != 47110" },
    Way { what: "the machine's files", line: "touch /etc/x || touch /usr/x || touch /home/x || touch /x" },
    Way {
        what: "the kernel's settings",
        line: "echo x > /proc/sys/kernel/core_pattern || echo b > /proc/sysrq-trigger",
    },
    Way { what: "kernel programs", line: "ls /sys/fs/bpf/* || ls /sys/kernel/tracing/* || ls /sys/kernel/debug/*" },
    Way { what: "the kernel's keyrings", line: "perl -e 'exit(syscall(250,0,-4,0)>=0?0:1)'" },
    Way { what: "writing into the terminal's input", line: "perl -e 'ioctl(STDIN,0x5412,\"x\"); exit($!==1?1:0)'" },
    Way {
        what: "devices of the machine",
        line: "ls /dev/mem /dev/kmsg /dev/vda /dev/sda /dev/fuse /dev/net/tun 2>/dev/null | grep -q .",
    },
];

#[test]
fn no_way_out_is_open() {
    // The same lines find what is there without a guard: else a row would show nothing.
    assert!(fs::read_to_string(BED.home.join("agent/.aws/credentials")).is_ok_and(|text| text.contains(CANARY)));
    // One run for all: each in a shell of its own, which says how it ended.
    let script = WAYS.iter().enumerate().fold(String::new(), |script, (number, way)| {
        script + &format!("( {} ) >/dev/null 2>&1 && echo OPEN {number}\n", way.line)
    });
    let answer = BED.sh(&["--quiet"], &format!("{script}echo done"));
    assert!(answer.out.contains("done"), "{answer:?}");
    let open: Vec<_> = answer
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("OPEN ")?.parse::<usize>().ok())
        .map(|number| WAYS[number].what)
        .collect();
    assert!(open.is_empty(), "open: {open:?}\n{}", answer.err);
}

#[test]
fn it_has_no_rights_and_gets_none() {
    let status = BED.sh(&["--quiet"], "cat /proc/self/status; id -u").ok();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    assert!(status.trim().ends_with("47110"), "{status}");
}

#[test]
fn what_it_writes_to_its_home_is_thrown_away_and_to_its_project_is_kept() {
    let script = "echo evil >> ~/.bashrc && grep -q evil ~/.bashrc && mkdir -p ~/.config/autostart && echo x > ~/.profile && \
                  echo mine > made && rm file";
    BED.sh(&["--quiet"], script).ok();
    let home = BED.home.join("agent");
    assert_eq!(fs::read_to_string(home.join(".bashrc")).expect("it is there"), "# as it was\n");
    assert!(!home.join(".profile").exists() && !home.join(".config/autostart").exists());
    assert_eq!(fs::read_to_string(home.join("project/made")).expect("it is kept"), "mine\n");
    assert!(!home.join("project/file").exists());
}

#[test]
fn more_can_be_hidden_more_be_written_and_more_be_told() {
    fs::write(BED.home.join("agent/private"), "words of its own").expect("a file");
    fs::create_dir_all(BED.home.join("agent/state")).expect("a folder");
    std::os::unix::fs::chown(BED.home.join("agent/state"), Some(super::bed::UID), None).expect("the user's");
    let options = [
        "--quiet",
        "--hide",
        "~/private",
        "--writable",
        "/home/agent/state",
        "--env",
        "TOLD=so",
        "--env",
        "AWS_PROFILE",
    ];
    let script = "grep -q words ~/private; echo $?; echo kept > ~/state/x; echo $TOLD $AWS_PROFILE $AWS_REGION";
    let mut command = BED.command(&options, &["sh", "-c", script]);
    command.env("AWS_PROFILE", "dev").env("AWS_REGION", "here");
    let said = guard_e2e::harness::run(command, "").ok();
    assert_eq!(said, "1\nso dev\n");
    assert_eq!(fs::read_to_string(BED.home.join("agent/state/x")).expect("it is kept"), "kept\n");
}
