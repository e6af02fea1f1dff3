"""Adds up ctest's JUnit reports: what failed and what was skipped by name, also cases that a passing test skipped inside, then the runner's line."""
import re
import sys
import xml.etree.ElementTree as xml


def inner_skips(text):
    """cmocka, Python's unittest and node's TAP, each in its words."""
    seen = []
    for line in text.splitlines():
        m = re.match(r"\[  SKIPPED \] ([A-Za-z_]\S*)$", line) or re.match(r"(\S+) \(.*\) \.\.\. skipped", line) or re.match(r"ok \d+ - (.*?) # SKIP", line)
        if m and m.group(1) not in seen:
            seen.append(m.group(1))
    return seen


def main(paths):
    passed = failed = skipped = 0
    for path in paths:
        for case in xml.parse(path).getroot().iter("testcase"):
            name, status = case.get("name"), case.get("status")
            if status == "fail":
                failed += 1
                print(f"failed: {name}")
            elif status == "run":
                passed += 1
                for inner in inner_skips(case.findtext("system-out") or ""):
                    skipped += 1
                    print(f"skipped: {name}: {inner}")
            else:
                skipped += 1
                print(f"skipped: {name}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
