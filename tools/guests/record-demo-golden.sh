#!/bin/bash
# Run in the dom0 of a real Xen host: record-demo-golden.sh DEMO_ELF > sections. Drives the demo kernel through every command and every
# toolstack operation and prints what came on its console; test/golden/demo-kernel-xen417.log is its output below a header.
set -u
kernel=${1:?usage: record-demo-golden.sh DEMO_ELF}
name=demo
log=/var/log/xen/console/guest-$name.log
config=$(mktemp)
cat > "$config" <<X
name="$name"
type="pv"
kernel="$kernel"
memory=32
vcpus=2
cpus="1"
on_poweroff="preserve"
on_crash="preserve"
X
offset=0

quiet() { "$@" > /dev/null 2>&1; }
# at_prompt SECONDS: waits until the console ends with the prompt, no longer than that
at_prompt() {
  for _ in $(seq $(($1 * 5))); do tail -c 200 $log 2> /dev/null | tr -d '\r' | tail -n 1 | grep -q '^demo> $' && break; sleep 0.2; done
  sleep 0.3
}
# type_raw FORMAT SECONDS
type_raw() {
  local tty
  tty=$(xenstore-read "/local/domain/$(xl domid $name)/console/tty")
  stty -F "$tty" raw -echo
  printf "$1" > "$tty"
  sleep "$2"
}
section() {
  local end
  end=$(wc -c < $log)
  echo "## $1"
  tail -c +$((offset + 1)) $log | head -c $((end - offset)) | tr -d '\r'
  echo
  offset=$end
}
typed() { type_raw "$1\r" 0.5; at_prompt 20; section "typed: $1"; }
hypervisor_log() { xl dmesg -c | grep -v 'PCI add' | head -12 | sed 's/^/## xl dmesg: /'; }
state() { xl list $name | tail -1 | awk '{print "## xl list: id "$2" mem "$3" vcpus "$4" state "$5}'; }
cpu_seconds() { xl list $name | tail -1 | awk '{print $6}'; }
boot() { quiet xl create "$config"; at_prompt 10; }

rm -f $log
quiet xl dmesg -c
boot; section "xl create"; state
for line in help info uptime 'echo hello   world' 'nonsense' 'sleep 100' hypercalls events pt mem cpus 'xenstore ls' 'xenstore ls control' \
  'xenstore read name' 'xenstore read nope' 'xenstore write data/x 5' 'xenstore ls data' xenstore; do typed "$line"; done
hypervisor_log
typed 'ehcho\177\177\177\177cho backspace'
type_raw 'half a line\003' 0.5; section "typed: half a line, ^C"
type_raw 'flood 1\r' 12
end=$(wc -c < $log)
echo "## typed: flood 1 (first and last lines)"
tail -c +$((offset + 1)) $log | tr -d '\r' | head -4; echo ...; tail -n 4 $log | tr -d '\r'; echo
offset=$end
state
xl pause $name; state; xl unpause $name; typed uptime

image=$(mktemp)
quiet xl save $name "$image"; quiet xl restore "$image"; at_prompt 10; section "xl save; xl restore"; state
for line in info uptime events cpus pt mem; do typed "$line"; done
quiet xl save -c $name "$image"; at_prompt 10; section "xl save -c (checkpoint: the suspend is cancelled)"; state
for line in uptime events; do typed "$line"; done
xl destroy $name; rm -f "$image"

boot; offset=$(wc -c < $log)
before=$(cpu_seconds); sleep 20; echo "## idle for 20 s: CPU seconds $before before, $(cpu_seconds) after"
quiet xl reboot $name; sleep 3; at_prompt 10; section "xl reboot"; state
typed reboot; sleep 3; at_prompt 10; section "(the new domain)"; state
quiet xl shutdown -w $name; section "xl shutdown"; state; xl destroy $name

for line in halt crash 'crash fault' 'crash panic' suspend spin; do
  quiet xl dmesg -c
  boot; offset=$(wc -c < $log)
  type_raw "$line\r" 3; section "typed: $line"; state; hypervisor_log
  xl destroy $name
done
rm -f "$config"
