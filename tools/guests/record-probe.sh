#!/bin/bash
# Run in the dom0 of a real Xen host: record-probe.sh PROBE_ELF "SECTION SEED [COUNT]"... > lines. Boots the probe (test/guests/probe) once for
# each and prints its console; what a run of `deaths` did not live to say, the last line does. test/golden/probe-xen417.log.gz is what it prints for the lines of test/guests/probe/runs.txt, through gzip -9n.
set -u
kernel=${1:?usage: record-probe.sh PROBE_ELF RUN...}
shift
name=probe
log=/var/log/xen/console/guest-$name.log
config=$(mktemp)
for run in "$@"; do
  case $run in contexts*) vcpus=32 ;; *) vcpus=2 ;; esac
  cat > "$config" <<X
name="$name"
type="pv"
kernel="$kernel"
extra="$run"
memory=32
vcpus=$vcpus
cpus="1"
on_poweroff="preserve"
on_crash="preserve"
X
  rm -f $log
  xl create -q "$config" > /dev/null 2>&1
  for _ in $(seq 600); do
    tail -c 100 $log 2> /dev/null | grep -q '^# the end' && break
    xl list $name | tail -1 | awk '{print $5}' | grep -q '[sc]' && break
    sleep 0.2
  done
  sleep 0.3
  tr -d '\r' < $log
  if ! tail -c 100 $log | grep -q '^# the end'; then
    state=$(xl list $name | tail -1 | awk '{print $5}')
    case $run/$state in
      deaths*c*) printf 'the domain has crashed\n# the end\n' ;;
      deaths*s*) printf 'the domain has shut down\n# the end\n' ;;
      *) echo "# STOPPED: $state" && xl dmesg -c | tail -30 >&2 ;;
    esac
  fi
  xl destroy $name
done
rm -f "$config"
