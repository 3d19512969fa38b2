@local @commit
Feature: People come and go
  A person is the same on every node, or on none.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: 052 removes a user only when their jobs have ended, and keeps their home
    When tmplrun runs notebook 051 with
      | users | [{name: hanako}] |
    Then it succeeds
    And every node gives the same answer to "id hanako"
    When somebody runs "echo thesis > /home/hanako/thesis.txt" on c1
    And hanako submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=1 --time=5
      sleep 300
      """
    Then the job is RUNNING
    When tmplrun runs notebook 052 with
      | names | [hanako] |
    Then it ends with exit code 1
    And it says "cancel_jobs = True"
    And every node gives the same answer to "id hanako"
    When tmplrun runs notebook 052 with
      | names       | [hanako] |
      | cancel_jobs | True     |
    Then it succeeds
    And every node answers "getent passwd hanako || echo nobody" with "nobody"
    And every node gives the same answer to "getent passwd taro"
    And the master answers "cat /home/hanako/thesis.txt" with "thesis"
    When tmplrun runs notebook 052 with
      | names | [hanako] |
    Then it succeeds

  Scenario: 051 gives keys, sudo and groups that people share, and takes them away; a partition is for a group
    When tmplrun runs notebook 051 with
      | users | [{name: hanako, groups: [lab, guests], sudo: true, keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f hanako"]}, {name: jiro, groups: [lab]}] |
    Then it succeeds
    And every node answers "getent group lab guests | paste -sd' '" with "lab:x:3001:hanako,jiro guests:x:3002:hanako"
    And every node answers "su - hanako -c 'sudo -n id -un'" with "root"
    And every node answers "su - jiro -c 'sudo -n id -un' 2>/dev/null || echo refused" with "refused"
    And the master answers "(stat -c '%U %a' /home/hanako/.ssh/authorized_keys; cut -d' ' -f3 /home/hanako/.ssh/authorized_keys) | paste -sd' '" with "hanako 600 hanako"
    When this Python program runs
      """
      import clusterbook as cb
      cb.Design.load("{cluster}").set("partitions[compute].allow_groups", ["lab"]).save()
      cb.open("{cluster}").apply()
      """
    Then it succeeds
    And the master answers "sudo -u taro sbatch --chdir=/tmp --wrap=hostname 2>&1 | grep -c 'group not permitted'" with "1"
    When jiro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --time=5
      srun hostname
      """
    Then the job is COMPLETED
    # Slurm knows new members at once, not when it next looks by itself.
    When tmplrun runs notebook 051 with
      | users | [{name: taro, groups: [lab]}, {name: hanako, groups: [], sudo: false, keys: []}] |
    Then it succeeds
    And every node answers "getent group lab guests | paste -sd' '" with "lab:x:3001:jiro,taro guests:x:3002:"
    And every node answers "su - hanako -c 'sudo -n id -un' 2>/dev/null || echo refused" with "refused"
    And the master answers "wc -c </home/hanako/.ssh/authorized_keys" with "0"
    When taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --time=5
      srun hostname
      """
    Then the job is COMPLETED
    And the master answers "sudo -u hanako sbatch --chdir=/tmp --wrap=hostname 2>&1 | grep -c 'group not permitted'" with "1"
    When tmplrun runs notebook 052 with
      | names       | [hanako, jiro] |
      | group_names | [lab, guests]  |
    Then it ends with exit code 1
    And it says "there is no Unix group 'lab'"
    When this Python program runs
      """
      import clusterbook as cb
      cb.Design.load("{cluster}").set("partitions[compute].allow_groups", []).save()
      """
    And tmplrun runs notebook 052 with
      | names       | [hanako, jiro] |
      | group_names | [lab, guests]  |
    Then it succeeds
    And every node answers "getent group lab guests hanako jiro || echo none" with "none"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
