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
    Then the job is RUNNING within 30 s
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
