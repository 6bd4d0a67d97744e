#!/bin/sh
# The first process of the guest. On the kernel's command line: mode=halt, mode=reboot end it at once; mods=1 loads the Xen drivers.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1

# poweroff, reboot and halt ask process 1 by signal.
trap 'poweroff -f' USR2
trap 'reboot -f' TERM
trap 'halt -f' USR1

echo "DOMU-INIT-REACHED uptime=$(cat /proc/uptime)"
case "$(cat /proc/cmdline)" in
*mode=halt*) poweroff -f ;;
*mode=reboot*) reboot -f ;;
esac
case "$(cat /proc/cmdline)" in
*mods=1*) for driver in "/mods/$(uname -r)"/*.ko; do insmod "$driver"; done; sleep 1 ;;
esac
cat /proc/cpuinfo | head -30
free
echo "DOMU-SHELL"
# A shell with job control, and another when it ends. It runs beside, so that signals are heard.
while :; do
  setsid cttyhack sh </dev/console &
  wait $!
done
