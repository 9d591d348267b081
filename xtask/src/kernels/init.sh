#!/bin/bash
# The first process of a machine that runs the tests of guard-kernel, and nothing else.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
# The kernel passes what it doesn't know of its command line on as environment.
# shellcheck disable=SC2154,SC2086
namespaces ${tests//,/ } 2>&1
echo "guest: the tests ended with $?"
echo o > /proc/sysrq-trigger
sleep 60
