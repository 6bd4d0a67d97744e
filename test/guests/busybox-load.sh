# Programs of busybox on numbers, text and files: what they print depends on the processor alone. Run in an empty folder.
echo "== begin"
seq 1 3000 > n
for sum in md5sum sha1sum sha256sum sha512sum sha3sum; do $sum n; done
sort -r n | md5sum; sort -k1,1n n | head -n 2
awk '{print ($1 * 7919) % 10007, $1}' n | sort -k1,1n -k2,2nr | md5sum
awk 'BEGIN { for (i = 1; i < 200; i++) { r = i; for (k = 0; k < 20; k++) r = (r + i / r) / 2; printf "%.17g %.17g %e %g\n", r, 1 / i - r, r * 1e200 * i, i / 7e-30 } }' | md5sum
awk 'BEGIN { x = 0.5; for (i = 0; i < 2000; i++) x = 3.9 * x * (1 - x); printf "%.17g\n", x }'
awk 'BEGIN { print int(-3.7), 10 % 3.3, 1e300 * 1e10, -1e300 * 1e10, 5e-324, 1 / 3, 0.1 + 0.2, 1e15 + 0.3, -1 / 1e308 / 10 }'
awk 'BEGIN { srand(42); for (i = 0; i < 500; i++) s += rand(); print s }'
printf '%f %e %g %.3f %x %o\n' 3.14159 123456.789 0.0001 2.71828 255 8
echo $((123456789 * 987654321)) $((-17 / 5)) $((-17 % 5)) $((1 << 62)) $(((1 << 63) - 1))
echo "scale=30; 4*a(1); e(1); sqrt(2); 2^200" | bc -l
echo "20k 2v p 355 113/ p 2 64^p" | dc
gzip -c n | gunzip -c | cmp - n && gzip -c9 n | md5sum
bzip2 -c n | bunzip2 | cmp - n && bzip2 -c n | md5sum
mkdir -p d/e && cp n d/e/n && tar cf - d/e/n | tar xOf - | md5sum
sed -n 's/^\(.\)\(.*\)$/\2\1/p' n | md5sum
grep -c '7.*7' n; grep -cE '^(1|2)+$' n
tr 0-9 a-j < n | md5sum; cut -c1-2 n | uniq -c | md5sum; rev n | md5sum; od -A d -t x1 n | md5sum; hexdump -C n | tail -n 2
base64 n | md5sum; uuencode -m x < n | md5sum; fold -w 7 n | md5sum; nl n | tail -n 1; tac n | head -n 1; wc n; xxd n | md5sum; paste n n | md5sum
head -n 700 n > s.aa; tail -n +701 n > s.ab; cat s.* | cmp - n; diff n s.aa | md5sum; find . -name 's.*' | sort | xargs md5sum | md5sum
factor 1234567890123 600851475143
i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); done; echo $i
f() { if [ "$1" -le 1 ]; then echo 1; else echo $(($1 * $(f $(($1 - 1))))); fi; }; f 12
x=abcabc; echo ${x#*b} ${x##*b} ${x%b*} ${x//b/X} ${#x}
for i in 1 2 3 4 5 6 7 8; do (echo $i); done | md5sum
trap 'echo heard' USR1; kill -USR1 $$; (exit 7); echo $?
mkfifo p; (cat n > p &) ; md5sum < p
date -u -d @1234567890; date -u -d '2001-02-03 04:05:06' +%s; cal 2 2024; seq 0.1 0.3 2
dd if=n bs=100 count=10 skip=3 2>/dev/null | md5sum; ipcalc -n 10.1.2.3/13
echo "== end"
