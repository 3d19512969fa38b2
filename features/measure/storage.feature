@local @nightly
Feature: 122 measures storage
  On the real storage, by real processes. What the notebook's table is made of lies on the cluster, and is counted there.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: The shared home and a folder of the nodes, with and without direct I/O
    When tmplrun runs notebook 122 with
      | processes | [1, 3] |
      | mib       | 16     |
      | repeats   | 2      |
    Then it succeeds
    # A line for each process of 2 folders × 2 ways × 2 repeats × 2 operations.
    And the master answers "grep -c ^moved $(ls -td /home/taro/storage/job-*/results.txt | head -n 1)" with "64"
    And the master answers "cut -f 2 $(ls -td /home/taro/storage/job-*/results.txt | head -n 1) | sort -u | paste -sd' '" with "/home /tmp end"
    And every node answers "ls -d /tmp/storage-[0-9]* /tmp/storage-taro-* /home/taro/storage/job-*/data 2>/dev/null | wc -l" with "0"

  Scenario: A folder where the user may not write is said to be missing, and the others are measured
    When tmplrun runs notebook 122 with
      | folders       | [/home, /root] |
      | local_folders | []             |
      | processes     | [1]            |
      | mib           | 1              |
      | repeats       | 1              |
      | direct        | [false]        |
    Then it succeeds
    And the master answers "cut -f 1,2 $(ls -td /home/taro/storage/job-*/results.txt | head -n 1) | sort | tr '\t' ' ' | paste -sd," with "end,moved /home,moved /home,skipped /root"

  Scenario: Too many processes are refused before a job is submitted
    When the answers of all nodes to "squeue --noheader --states=all | wc -l" are noted
    And tmplrun runs notebook 122 with
      | processes | [1000] |
    Then it ends with exit code 1
    And it says "1000 processes need as many CPUs"
    And the answers of all nodes to "squeue --noheader --states=all | wc -l" are as noted
