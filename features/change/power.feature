@local @commit
Feature: A cluster is powered off for the weekend and on again
  Addresses, disks and host keys stay, and so do jobs that wait.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: Off and on
    When the provider's listing is noted
    And taro submits this job
      """
      #!/bin/bash
      #SBATCH --job-name=waits --time=5 --hold
      hostname
      """
    And the answers of all nodes to "sacctmgr -nP show associations && sacct -n -X --allusers --name=hello --starttime=now-1days && squeue -h --name=waits -o '%i %u %T %r'" are noted
    # The controller's first message: what it said is still there after the weekend.
    And the answers of all nodes to "journalctl -q -u slurmctld -o short-full | head -n 1" are noted
    And taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --time=5 --begin=now+20
      srun hostname
      """
    And "power: on" becomes "power: off" in the design
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the provider lists stopped nodes only
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    When "power: off" becomes "power: on" in the design
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the provider's listing is as noted
    And the provider lists exactly what the design says
    And the job is COMPLETED
    And the answers of all nodes to "sacctmgr -nP show associations && sacct -n -X --allusers --name=hello --starttime=now-1days && squeue -h --name=waits -o '%i %u %T %r'" are as noted
    And the answers of all nodes to "journalctl -q -u slurmctld -o short-full | head -n 1" are as noted
    And the master answers "test -s /var/log/journal/$(cat /etc/machine-id)/system.journal && journalctl -q -u slurmctld | grep -q . && echo kept" with "kept"
    And Slurm says that "c1, c2" are idle, and knows no other node

  Scenario: Notebooks 911 and 912 do it, with a job that waits and not with one that runs
    When the provider's listing is noted
    And taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=1 --time=5
      sleep 300
      """
    Then the job is RUNNING
    When tmplrun runs notebook 911
    Then it ends with exit code 1
    And it says "end_jobs = True"
    And the provider lists 3 running nodes, 1 disk and 1 network
    When somebody runs "scancel --user=taro" on master
    And taro submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=2 --time=5 --begin=now+15
      srun hostname
      """
    And tmplrun runs notebook 911
    Then it succeeds
    And the provider lists stopped nodes only
    When tmplrun runs notebook 911
    Then it succeeds
    When tmplrun runs notebook 912
    Then it succeeds
    And the provider's listing is as noted
    And the job is COMPLETED
