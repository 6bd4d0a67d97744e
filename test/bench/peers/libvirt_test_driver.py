"""libvirt's test driver, test:///default: figures as a line of JSON. It is a library in this process: nothing is sent and nothing is stored."""

import json
import sys
import threading
import time

import libvirt

XML = """<domain type="test"><name>bench-%d</name><memory>16384</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"""
count = int(sys.argv[1])
connection = libvirt.open("test:///default")


def rate(operations, work):
    begin = time.perf_counter()
    work()
    return operations / (time.perf_counter() - begin)


domains = []
define = rate(count, lambda: domains.extend(connection.defineXML(XML % i) for i in range(count)))


def power():
    for domain in domains:
        domain.create()
        domain.destroy()


def suspend():
    for domain in domains:
        domain.suspend()
        domain.resume()


start = rate(2 * count, power)
for domain in domains:
    domain.create()
pause = rate(2 * count, suspend)
lists = rate(10, lambda: [[(d.name(), d.UUIDString(), d.info()) for d in connection.listAllDomains()] for _ in range(10)])


def read(clients):
    each = 20 * count // clients

    def lane():
        for i in range(each):
            domain = domains[i % count]
            (domain.name(), domain.UUIDString(), domain.info())

    threads = [threading.Thread(target=lane) for _ in range(clients)]

    def run():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return rate(each * clients, run)


print(json.dumps({"define": define, "start": start, "pause": pause, "list": lists, "read1": read(1), "read32": read(32)}))
