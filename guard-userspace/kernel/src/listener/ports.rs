//! A set of ports in the notation of `ip_local_reserved_ports`: `8080,30000-32767`.

use std::fmt;

/// Ranges, both ends included, in ascending order, neither overlapping nor touching.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// `None` for what is not the kernel's notation.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut ports = Self::default();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (first.parse().ok()?, last.parse().ok()?);
            if range.0 > range.1 {
                return None;
            }
            ports.0.push(range);
        }
        ports.normalise();
        Some(ports)
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    pub(super) fn insert(&mut self, port: u16) {
        self.0.push((port, port));
        self.normalise();
    }

    pub(super) fn remove(&mut self, port: u16) {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        for &(first, last) in &self.0 {
            if !(first..=last).contains(&port) {
                rest.push((first, last));
                continue;
            }
            if first < port {
                rest.push((first, port - 1));
            }
            if port < last {
                rest.push((port + 1, last));
            }
        }
        self.0 = rest;
    }

    fn normalise(&mut self) {
        self.0.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(self.0.len());
        for &(first, last) in &self.0 {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        self.0 = merged;
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            if first == last {
                write!(out, "{comma}{first}")?;
            } else {
                write!(out, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, change: impl FnOnce(&mut Ports)) -> String {
        let mut ports = Ports::parse(text).unwrap();
        change(&mut ports);
        ports.to_string()
    }

    #[test]
    fn a_port_is_added_beside_what_is_there() {
        assert_eq!(after("\n", |ports| ports.insert(5)), "5");
        assert_eq!(after("8080,30000-32767\n", |ports| ports.insert(20000)), "8080,20000,30000-32767");
        assert_eq!(after("1-4", |ports| ports.insert(5)), "1-5");
        assert_eq!(after("1-4,6-9", |ports| ports.insert(5)), "1-9");
        assert_eq!(after("1-9", |ports| ports.insert(5)), "1-9");
        assert_eq!(after("65535", |ports| ports.insert(65535)), "65535");
    }

    #[test]
    fn a_port_is_removed_and_nothing_else() {
        assert_eq!(after("5", |ports| ports.remove(5)), "");
        assert_eq!(after("1-9", |ports| ports.remove(5)), "1-4,6-9");
        assert_eq!(after("1-9", |ports| ports.remove(1)), "2-9");
        assert_eq!(after("1-9", |ports| ports.remove(9)), "1-8");
        assert_eq!(after("1-4", |ports| ports.remove(5)), "1-4");
        assert_eq!(after("0-65535", |ports| ports.remove(65535)), "0-65534");
    }

    #[test]
    fn another_notation_is_not_guessed_at() {
        for text in ["a", "1-", "-1", "2-1", "70000", "1;2"] {
            assert!(Ports::parse(text).is_none(), "{text}");
        }
    }
}
