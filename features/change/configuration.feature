@local @commit
Feature: Configuration files and slurm.conf are edited as part of the design
  What a file holds is kept the same on its nodes, its readers are told, and every apply is a version to go back to.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: 030 edits a file, its service reads it again, and it goes back
    When tmplrun runs notebook 030 with
      | path            | /etc/ssh/sshd_config.d/20-site.conf |
      | nodes           | compute                             |
      | content         | Banner /etc/issue.net               |
      | reload_services | [ssh]                               |
    Then it succeeds
    And c1 answers "cat /etc/ssh/sshd_config.d/20-site.conf" with "Banner /etc/issue.net"
    And c2 answers "stat -c %a:%U /etc/ssh/sshd_config.d/20-site.conf" with "644:root"
    And c2 answers "journalctl -u ssh --no-pager | grep -c 'Received SIGHUP'" with "1"
    And the master answers "ls /etc/ssh/sshd_config.d" with "10-clusterbook.conf"
    And the master answers "journalctl -u ssh --no-pager | grep -c 'Received SIGHUP' || true" with "0"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    # Edited by hand on one node: found, and put right with the next version.
    When somebody runs "echo '# mine' >> /etc/ssh/sshd_config.d/20-site.conf" on c1
    And "clusterbook plan {cluster} --json" runs
    Then the plan has a change of "/etc/ssh/sshd_config.d/20-site.conf" on c1
    When "clusterbook files diff {cluster} /etc/ssh/sshd_config.d/20-site.conf" runs
    Then it ends with exit code 3
    And it says "-# mine"
    When tmplrun runs notebook 030 with
      | path    | /etc/ssh/sshd_config.d/20-site.conf |
      | nodes   | compute                             |
      | content | Banner none                         |
    Then it succeeds
    And c1 answers "cat /etc/ssh/sshd_config.d/20-site.conf" with "Banner none"
    And c2 answers "journalctl -u ssh --no-pager | grep -c 'Received SIGHUP'" with "2"
    When tmplrun runs notebook 030 with
      | path         | /etc/ssh/sshd_config.d/20-site.conf |
      | nodes        | compute                             |
      | roll_back_to | -1                                  |
    Then it succeeds
    And c1 answers "cat /etc/ssh/sshd_config.d/20-site.conf" with "Banner /etc/issue.net"
    When "clusterbook files remove {cluster} /etc/ssh/sshd_config.d/20-site.conf" runs
    And "clusterbook apply {cluster}" runs
    Then it succeeds
    And c1 answers "ls /etc/ssh/sshd_config.d" with "10-clusterbook.conf"
    And c2 answers "journalctl -u ssh --no-pager | grep -c 'Received SIGHUP'" with "4"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty

  Scenario: A file that the image holds comes back when the design no longer names it
    When the answers of all nodes to "stat -c %a:%U /etc/issue && cat /etc/issue" are noted
    And this Python program runs
      """
      import clusterbook as cb
      cluster = cb.open("{cluster}")
      copy = cluster.files.edit("/etc/issue")
      copy.write_text(copy.read_text() + "Maintenance on Friday.\n")
      design = cluster.design
      design.set_file("/etc/issue", copy.read_text(), mode="0640").save()
      cluster.apply()
      found = cluster.files.show("/etc/issue")
      assert found.text.endswith("Maintenance on Friday.\n"), found
      assert {row["mode"] for row in found} == {"0640"}, found
      cluster.design.remove_file("/etc/issue").save()
      cluster.apply()
      assert "Maintenance" not in cluster.files.show("/etc/issue").text
      """
    Then it succeeds
    And the answers of all nodes to "stat -c %a:%U /etc/issue && cat /etc/issue" are as noted

  Scenario: 031 sets keys of slurm.conf, and what slurmctld would refuse is never distributed
    When tmplrun runs notebook 031 with
      | settings | {MaxJobCount: 20000, inactivelimit: 30} |
    Then it succeeds
    And Slurm's configuration has "MaxJobCount = 20000"
    And Slurm's configuration has "InactiveLimit = 30 sec"
    # Describing it again keeps what other notebooks have put into the design.
    When the design file is noted
    And tmplrun runs notebook 010
    Then it succeeds
    And the design file is as noted
    When the answers of all nodes to "cat /etc/slurm/slurm.conf /var/lib/clusterbook/stamp/*; systemctl show -P ActiveEnterTimestampMonotonic slurmctld slurmd" are noted
    And tmplrun runs notebook 031 with
      | settings | {SchedulerType: sched/nonsense} |
    Then it ends with exit code 1
    And it says "slurmctld would refuse this configuration"
    And it says "cannot find sched plugin for sched/nonsense"
    And the design file is as noted
    And the answers of all nodes to "cat /etc/slurm/slurm.conf /var/lib/clusterbook/stamp/*; systemctl show -P ActiveEnterTimestampMonotonic slurmctld slurmd" are as noted
    # Nothing of the trial is left.
    And master answers "pgrep -fc 'slurmctld -[D]'; ls /tmp | grep -c clusterbook-trial || true" with "0 0"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    When tmplrun runs notebook 031 with
      | settings | {NodeName: c9} |
    Then it ends with exit code 1
    And it says "describe nodes in groups instead"
    And the design file is as noted
    When tmplrun runs notebook 031 with
      | roll_back_to | -1 |
    Then it succeeds
    And Slurm's configuration has "MaxJobCount = 10000"
    And Slurm says that "c1, c2" are idle, and knows no other node
